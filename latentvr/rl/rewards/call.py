"""Calling reward functions, and refusing what is no reward.

Shape letters: B completions, F reward functions.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from latentvr.data.record import Source
from latentvr.errors import UserError
from latentvr.evaluation.time_limit import TimeLimitError, limited
from latentvr.rl.rewards import texts
from latentvr.rl.rewards.context import RewardContext
from latentvr.rl.rewards.others_code import OthersCode
from latentvr.rl.rewards.registry import RewardFunction

#: Record ids that an error names, at most.
NAMED = 4


class Rewards:
    """The rewards of a run.

    Args:
        functions: from `registry.resolve`.
        weights: one for each; none at all weighs each 1.
        timeout: seconds that a call of one function may take.

    Attributes:
        names: of the functions.
        weights_F: float32.

    Raises:
        UserError: weights and functions differ in number.
    """

    def __init__(
        self, functions: Sequence[RewardFunction], weights: Sequence[float] = (), timeout: float = 30.0
    ) -> None:
        if weights and len(weights) != len(functions):
            raise UserError(
                f"expected a weight for each of {len(functions)} rewards, got {len(weights)}, "
                "at rl.reward_weights; fix: write as many as rl.rewards, or leave the key out"
            )
        self.functions = list(functions)
        self.names = [function.name for function in functions]
        self.weights_F = torch.tensor(list(weights) or [1.0] * len(functions), dtype=torch.float32)
        self.timeout = timeout
        self._keys_of: tuple[Source, list[str]] | None = None

    def require(self, source: Source) -> None:
        """Refuse, before anything is written, functions that want columns that there will not be.

        Args:
            source: of the prompts.

        Raises:
            UserError: a function has a parameter without default that is no column, or its parameters cannot
                be read.
        """
        names = texts.column_names(self._keys(source))
        for reward in self.functions:
            _wanted(reward, names)

    def __call__(self, context: RewardContext) -> Tensor:
        """Ask every function.

        Args:
            context: of a round of rollouts.

        Returns:
            Rewards without weights (B, F), float32 on the CPU; NaN where a function gave None.

        Raises:
            UserError: a function raises, takes too long, wants a column that there is not, or gives anything
                but one finite number or None for each completion.
        """
        given = {
            **texts.columns(context, self._keys(context.source)),
            "prompts": texts.prompts(context),
            "completions": texts.completions(context),
        }
        rows = [self._ask(function, given, context) for function in self.functions]
        return torch.stack(rows, 1) if rows else torch.zeros(len(context.records), 0)

    def _keys(self, source: Source) -> list[str]:
        """The keys of `meta` that are columns; a source is looked through once."""
        if self._keys_of is None or self._keys_of[0] is not source:
            self._keys_of = source, texts.shared_keys(source)
        return self._keys_of[1]

    def _ask(self, reward: RewardFunction, given: dict[str, Any], context: RewardContext) -> Tensor:
        """One function's rewards (B,)."""
        ids = [record.id for record in context.records]
        with OthersCode(
            "a list of rewards", f"reward {reward.name!r} of records {_shown(ids)}", "correct the function"
        ):
            wanted = {name: given[name] for name in _wanted(reward, given)}
            call = functools.partial(reward.function, **wanted)
            made = self._timed(call, reward.name, ids) if reward.timed else call()
        return torch.tensor(_checked(made, reward.name, ids), dtype=torch.float32)

    def _timed(self, call: functools.partial[Any], name: str, ids: list[str]) -> Any:
        try:
            return limited(call, self.timeout)
        except TimeLimitError as error:
            raise UserError(
                f"expected rewards within {self.timeout:g} s, got none, at reward {name!r} of records "
                f"{_shown(ids)}; fix: make the function faster, or raise rl.reward_timeout"
            ) from error


def _wanted(reward: RewardFunction, columns: Iterable[str]) -> list[str]:
    """The columns that a function takes: all of them, or those that it names."""
    names = sorted(columns)
    with OthersCode(
        "a function whose parameters can be read", f"reward {reward.name!r}", "define it in Python"
    ):
        parameters = inspect.signature(reward.function).parameters.values()
    missing = [
        p.name
        for p in parameters
        if p.name not in names and p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if missing:
        raise UserError(
            f"expected parameters among {', '.join(names)}, got {', '.join(missing)}, "
            f"at reward {reward.name!r}; fix: rename it, or give every record that key of meta"
        )
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return names
    return [p.name for p in parameters if p.name in names]


def _checked(made: Any, name: str, ids: list[str]) -> list[float]:
    """Numbers, one for each completion; NaN for None."""
    if inspect.iscoroutine(made):
        # Python would warn that nobody has awaited it, after our error has said so.
        made.close()
    values = made.tolist() if hasattr(made, "tolist") else made
    if not isinstance(values, list | tuple) or len(values) != len(ids):
        got = f"{len(values)}" if isinstance(values, list | tuple) else f"a {type(made).__name__}"
        raise UserError(
            f"expected a list of {len(ids)} rewards, got {got}, at reward {name!r} of records {_shown(ids)}; "
            "fix: return one number or None for each completion"
        )
    return [math.nan if value is None else _number(value, name, ids[i]) for i, value in enumerate(values)]


def _number(value: Any, name: str, record_id: str) -> float:
    """The reward as a finite float32."""
    item = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    if not isinstance(item, int | float) or abs(item) > torch.finfo(torch.float32).max or item != item:
        shown = repr(item)[:60]
        raise UserError(
            f"expected a finite number or None, got {shown}, at reward {name!r} of record {record_id!r}; "
            "fix: return a finite number, or None where the reward does not apply"
        )
    return float(item)


def _shown(ids: list[str]) -> str:
    """The first ids, each once."""
    distinct = list(dict.fromkeys(ids))
    more = f" and {len(distinct) - NAMED} more" if len(distinct) > NAMED else ""
    return ", ".join(repr(name) for name in distinct[:NAMED]) + more
