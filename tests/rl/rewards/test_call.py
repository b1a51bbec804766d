"""Reward functions get TRL's arguments, and what is no reward stops the run with a name."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from latentvr.config.schema import DecodeConfig, RLConfig
from latentvr.data.record import Record
from latentvr.decoding.rollout import Rollout
from latentvr.errors import UserError
from latentvr.rl.rewards.call import Rewards
from latentvr.rl.rewards.context import RewardContext
from latentvr.rl.rewards.registry import RewardFunction, resolve
from latentvr.rl.rewards.texts import column_names


@dataclass
class Records:
    """A source whose images nobody asks for."""

    records: Sequence[Record]

    def images(self, record: Record) -> list[Any]:
        raise NotImplementedError(record.id)

    def where(self, record: Record) -> str:
        return record.id


def asked(model: Any, records: list[Any], texts: list[str]) -> RewardContext:
    """A round whose completions are these texts and an end of turn."""
    tokenizer = model.processor.tokenizer
    rollouts = []
    for text in texts:
        ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        n, none = len(ids), torch.zeros(0, 4)
        rollouts.append(Rollout(ids, [False] * n, [True] * n, [0.0] * n, none, [], none, "end"))
    source = Records(records)
    return RewardContext(model, records, [], rollouts, source, None, DecodeConfig(), RLConfig())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(lab: Any) -> Any:
    return lab.model("tiny-qwen2.5-vl")


@pytest.fixture
def context(lab: Any, model: Any) -> RewardContext:
    """Two records, two completions of each."""
    one = replace(lab.records["one image"], id="one", answer="3", meta={"level": 1, "answer": "x", "own": 2})
    two = replace(lab.records["two images"], id="two", meta={"level": 2})
    return asked(model, [one, one, two, two], ["three", "two", "image", ""])


def rewards_of(*functions: Callable[..., Any], timeout: float = 30.0) -> Rewards:
    named = [RewardFunction(getattr(f, "__name__", f"f{i}"), f) for i, f in enumerate(functions)]
    return Rewards(named, timeout=timeout)


def ask(context: RewardContext, *functions: Callable[..., Any], timeout: float = 30.0) -> torch.Tensor:
    return rewards_of(*functions, timeout=timeout)(context)


def test_a_function_gets_what_trl_gives_it(context: RewardContext) -> None:
    seen: dict[str, Any] = {}

    def watch(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        seen.update(columns, prompts=prompts, completions=completions)
        return [0.0] * len(completions)

    ask(context, watch)
    assert seen["prompts"][2] == [{"role": "user", "content": context.records[2].prompt}]
    assert seen["completions"][0] == [{"role": "assistant", "content": "three"}]
    assert seen["id"] == ["one", "one", "two", "two"]
    assert seen["solution"] == seen["answer"] == [record.answer for record in context.records]
    assert seen["level"] == [1, 1, 2, 2]
    assert "own" not in seen  # not all records have it
    assert seen["completion_ids"] == [rollout.ids for rollout in context.rollouts]
    assert seen["context"] is context
    assert set(seen) == column_names(["level"])
    assert set(seen) >= {"task", "answer_type", "choices", "question", "bboxes", "images", "meta", "response"}


def test_a_function_without_keywords_gets_the_columns_that_it_names(context: RewardContext) -> None:
    def named(level: Any, completions: Any, factor: float = 2.0) -> list[float]:
        assert len(completions) == 4
        return [factor * n for n in level]

    assert ask(context, named).tolist() == [[2.0], [2.0], [4.0], [4.0]]


def needs_own(own: Any, **columns: Any) -> list[float]:
    return [float(len(columns)) for _ in own]


NO_OWN = r"expected parameters among .*answer.*, got own, at reward 'needs_own'"


def test_a_column_that_is_not_there_is_named(context: RewardContext) -> None:
    with pytest.raises(UserError, match=NO_OWN):
        ask(context, needs_own)


def test_columns_are_those_of_all_records_and_not_of_a_round(context: RewardContext) -> None:
    """Else a function that names a key fails in the first round with a record that lacks it."""
    first = [context.records[0]] * 4
    with pytest.raises(UserError, match=NO_OWN):
        ask(replace(context, records=first), needs_own)
    assert ask(replace(context, records=first, source=Records(first)), needs_own).shape == (4, 1)


def test_a_column_that_there_will_not_be_is_named_before_the_first_round(context: RewardContext) -> None:
    def asks(level: Any, solution: Any, completion_ids: Any, context: Any, bboxes: Any, n: int = 1) -> None:
        raise AssertionError((level, solution, completion_ids, context, bboxes, n))

    rewards_of(asks, lambda *prompts, **columns: [prompts, columns]).require(context.source)
    rewards_of(needs_own).require(Records(context.records[:1]))
    with pytest.raises(UserError, match=NO_OWN):
        rewards_of(asks, needs_own).require(context.source)
    with pytest.raises(UserError, match="got level, at reward 'asks'"):
        rewards_of(asks).require(Records([]))


def test_each_source_has_columns_of_its_own(context: RewardContext) -> None:
    rewards = rewards_of(needs_own)
    rewards.require(Records(context.records[:1]))
    with pytest.raises(UserError, match=NO_OWN):
        rewards(context)


def test_a_function_whose_parameters_cannot_be_read_is_told(context: RewardContext) -> None:
    message = "expected a function whose parameters can be read, got ValueError: .*, at reward 'max'; fix"
    with pytest.raises(UserError, match=message):
        rewards_of(max).require(context.source)


def test_a_solution_of_the_data_set_goes_before_ours(context: RewardContext) -> None:
    def solution(solution: Any) -> list[float]:
        return [float(text.startswith("steps")) for text in solution]

    records = [replace(record, meta={"solution": "steps, 3"}) for record in context.records]
    context = replace(context, records=records, source=Records(records))
    assert ask(context, solution)[:, 0].tolist() == [1.0] * 4


def test_none_is_nan_and_columns_keep_the_order(context: RewardContext) -> None:
    def some(completions: Any) -> list[float | None]:
        return [None if not c[0]["content"] else 1.0 for c in completions]

    def whole(completions: Any) -> Any:
        return torch.arange(len(completions))

    rewards = ask(context, some, whole)
    assert rewards.dtype == torch.float32
    assert rewards[:3].tolist() == [[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]
    assert math.isnan(rewards[3, 0])
    assert rewards[3, 1] == 3


def _gives(made: Any) -> Callable[..., Any]:
    def given(**columns: Any) -> Any:
        del columns
        return made

    return given


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([1.0] * 3, "expected a list of 4 rewards, got 3, at reward 'given' of records 'one', 'two'"),
        (None, "got a NoneType"),
        (1.0, "expected a list of 4 rewards, got a float"),
        ([1.0, 1.0, math.nan, 1.0], "got nan, at reward 'given' of record 'two'"),
        ([1.0, math.inf, 1.0, 1.0], "got inf, at reward 'given' of record 'one'"),
        ([1.0, 1e39, 1.0, 1.0], "got 1e\\+39"),
        (["1", 1.0, 1.0, 1.0], "got '1'"),
    ],
)
def test_what_is_no_reward_is_refused(context: RewardContext, made: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ask(context, _gives(made))


def test_an_error_in_a_function_names_it_and_keeps_its_cause(context: RewardContext) -> None:
    def fails(completions: Any) -> list[float]:
        raise KeyError(f"no\nkey {len(completions)}")

    with pytest.raises(
        UserError, match=r"got KeyError: .*, at reward 'fails' of records 'one', 'two'; fix"
    ) as e:
        ask(context, fails)
    assert isinstance(e.value.__cause__, KeyError)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("timeout", [0.5, 30.0])
def test_a_function_that_leaves_the_process_is_told(context: RewardContext, timeout: float) -> None:
    def leaves(completions: Any) -> list[float]:
        sys.exit(len(completions))

    with pytest.raises(UserError, match="got SystemExit: 4, at reward 'leaves' of records 'one'") as caught:
        ask(context, leaves, timeout=timeout)
    assert isinstance(caught.value.__cause__, SystemExit)


def test_the_user_may_stop_a_function(context: RewardContext) -> None:
    def stopped(completions: Any) -> list[float]:
        raise KeyboardInterrupt(len(completions))

    with pytest.raises(KeyboardInterrupt):
        ask(context, stopped)


def test_a_coroutine_is_refused_without_a_warning_of_python(context: RewardContext) -> None:
    async def later(completions: Any) -> list[float]:
        return [0.0] * len(completions)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(UserError, match="expected a list of 4 rewards, got a coroutine"):
            ask(context, lambda completions: later(completions))
    assert told == []


def test_a_function_that_takes_too_long_is_stopped(context: RewardContext) -> None:
    def slow(completions: Any) -> list[float]:
        time.sleep(100)
        return [0.0 for _ in completions]

    message = r"within 0\.2 s, got none, at reward 'slow' of records 'one', 'two'; fix: .*rl\.reward_timeout"
    with pytest.raises(UserError, match=message):
        ask(context, slow, timeout=0.2)


def test_weights_are_one_for_each() -> None:
    functions = [RewardFunction(name, _gives(None)) for name in "ab"]
    assert Rewards(functions).weights_F.tolist() == [1.0, 1.0]
    assert Rewards(functions, [0.5, -2]).weights_F.tolist() == [0.5, -2.0]
    assert Rewards(functions).names == ["a", "b"]
    with pytest.raises(UserError, match="a weight for each of 2 rewards, got 1"):
        Rewards(functions, [1.0])


def test_trls_own_functions_work_from_a_users_file(model: Any, lab: Any, tmp_path: Path) -> None:
    pytest.importorskip("trl.rewards")
    file = tmp_path / "from_trl.py"
    file.write_text(
        "from trl.rewards import accuracy_reward, think_format_reward, get_soft_overlong_punishment\n"
        "from trl.rewards import get_repetition_penalty_reward, get_cosine_scaled_reward\n"
        "from trl.rewards import reasoning_accuracy_reward\n"
        "overlong = get_soft_overlong_punishment(10, 8)\n"
        "repeated = get_repetition_penalty_reward(2)\n"
        "cosine = get_cosine_scaled_reward(100)\n"
        "def stuck(completions):\n"
        "    accuracy_reward(completions, ['3'] * len(completions))\n"
        "    while True:\n        pass\n"
    )
    record = replace(lab.records["one image"], id="sum", answer="(1, 2)", answer_type="math")
    other = replace(record, answer="a cat", answer_type="text")
    texts = ["<think>a</think> \\boxed{(1,2)}", "\\boxed{2}", "\\boxed{3}"]
    names = [
        "accuracy_reward", "think_format_reward", "overlong", "repeated", "cosine",
        "reasoning_accuracy_reward",
    ]  # fmt: skip
    rl = RLConfig(rewards=names, reward_file=str(file), trust_reward_file=True)
    round_ = asked(model, [record, record, other], texts)
    rewards = Rewards(resolve(rl))(round_)
    lengths = [len(rollout.ids) for rollout in round_.rollouts]
    assert rewards[:, 0].tolist()[:2] == [1.0, 0.0]
    assert math.isnan(rewards[2, 0])
    assert rewards[:, 1].tolist() == [1.0, 0.0, 0.0]
    assert rewards[:, 2].tolist() == [0.0 if n <= 2 else (2 - n) / 8 if n <= 10 else -1.0 for n in lengths]
    assert rewards[0, 4] > rewards[1, 4]
    assert rewards[0, 5] == 1.0
    stuck = resolve(replace(rl, rewards=["stuck"]))
    with pytest.raises(UserError, match="at reward 'stuck'"):
        Rewards(stuck, timeout=1.0)(round_)
