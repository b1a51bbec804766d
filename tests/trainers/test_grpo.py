"""Rounds, micro-batches and the reference of a trainer by reinforcement, without a whole run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from latentvr.config.load import load
from latentvr.models.scoring import Scores, Scoring
from latentvr.models.trainable import set_trainable
from latentvr.rl.replay import replay_batch
from latentvr.rl.rewards.call import Rewards
from latentvr.rl.rewards.registry import RewardFunction
from latentvr.rl.round import Round, round_file, saved_places
from latentvr.runs.rl import build_prompts, stage_run
from latentvr.runs.sft import build_model
from latentvr.runs.sources import open_training
from latentvr.trainers.grpo import GRPOTrainer
from latentvr.trainers.reference import Reference
from latentvr.trainers.rollouts import rollout_decode
from latentvr.trainers.signals import StopRequest

SETTINGS = [
    "reasoner.name=livr", "reasoner.latents=2", "model.path=tiny-qwen2.5-vl", "model.dtype=float32",
    "model.lora.dropout=0", "data.source=toy", "data.tasks=[counting_class]", "data.toy.train=6",
    "data.feature_cache=off", "train.device=cpu", "train.batch_size=2", "train.gradient_accumulation=2",
    "optim.trainable=language", "optim.warmup=0", "rl.steps=4", "rl.num_generations=4",
    "decode.max_new_tokens=6", "log.every=1",
]  # fmt: skip


def varied(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    return [sum(ids) % 7 / 7 for ids in completion_ids]


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., GRPOTrainer]:
    """Makes a trainer of a recipe."""

    def make(*overrides: str) -> GRPOTrainer:
        recipe = load(None, [*SETTINGS, *overrides]).recipe
        source = open_training(recipe.data)
        torch.manual_seed(0)
        model = build_model(recipe)
        prompts = build_prompts(model, source, recipe)
        set_trainable(model, recipe.optim.trainable, recipe.model.lora)
        rewards = Rewards([RewardFunction("varied", varied, timed=False)])
        reference = Reference(model, recipe.optim.trainable == "lora") if recipe.rl.beta else None
        run = stage_run(recipe, len(source.records))
        return GRPOTrainer(model, recipe, run, tmp_path, prompts, rewards, reference, None, StopRequest())

    return make


def batches(trainer: GRPOTrainer, step: int) -> tuple[Round, list[dict[str, Any]]]:
    """The round and the micro-batches of an optimiser step."""
    trainer.state.global_step = step
    accumulation = trainer.args.gradient_accumulation_steps
    micros, items = trainer.get_batch_samples(iter(()), accumulation, torch.device("cpu"))
    assert trainer._round is not None
    assert items is trainer._round.items
    return trainer._round, micros


def written(made: Round) -> list[list[int]]:
    return [rollout.ids for rollout in made.rollouts]


def test_rollouts_are_drawn_by_the_settings_of_rl_and_all_else_is_that_of_decode() -> None:
    drawn = ["rl.temperature=0.7", "rl.top_k=3", "rl.top_p=0.8", "rl.min_p=0.1"]
    recipe = load(None, [*SETTINGS, *drawn, "decode.stop_strings=[x]", "decode.visibility=bottleneck"]).recipe
    decode = rollout_decode(recipe)
    assert (decode.do_sample, decode.temperature, decode.top_k, decode.top_p, decode.min_p) == (
        True, 0.7, 3, 0.8, 0.1,
    )  # fmt: skip
    assert (decode.max_new_tokens, decode.stop_strings, decode.visibility) == (6, ["x"], "bottleneck")
    assert not recipe.decode.do_sample


def test_a_buffer_of_one_step_is_filled_anew_for_each(trainer: Any) -> None:
    made = trainer()
    first, micros = batches(made, 0)
    assert [micro["number"] for micro in micros] == [0, 1]
    assert len(first.rollouts) == 4
    assert first.old == []
    assert len(first.reference) == 2
    second, _ = batches(made, 1)
    assert (first.number, second.number) == (0, 1)
    assert written(first) != written(second)
    assert first.places != second.places


def test_a_buffer_of_several_steps_is_gone_through_as_often_as_asked(trainer: Any) -> None:
    made = trainer("rl.steps_per_generation=4", "rl.num_iterations=2")
    first, _ = batches(made, 0)
    seen = []
    for step in range(4):
        found, micros = batches(made, step)
        assert found is first
        seen.append([micro["number"] for micro in micros])
    assert seen == [[0, 1], [2, 3], [0, 1], [2, 3]]
    assert len(first.rollouts) == 8
    assert len(first.old) == len(first.reference) == 4
    other, _ = batches(made, 4)
    assert other.number == 1


@pytest.mark.parametrize("share", [True, False])
def test_micro_batches_hold_the_round_in_its_order(share: bool, trainer: Any) -> None:
    made = trainer(f"rl.share_prompts={str(share).lower()}")
    found, micros = batches(made, 0)
    assert torch.equal(torch.cat([micro["advantages"] for micro in micros]), found.advantages_B)
    for number, micro in enumerate(micros):
        part = slice(2 * number, 2 * number + 2)
        alone = replay_batch(made.latent_model, found.samples[part], found.rollouts[part], share=share)
        assert torch.equal(micro["input_ids"], alone["input_ids"])
        sampled = [p for rollout in found.rollouts[part] for p in rollout.log_probs]
        assert micro["sampled_log_probs"].tolist() == pytest.approx(sampled)


def test_a_group_shares_a_prompt_and_its_advantages_are_about_their_mean(trainer: Any) -> None:
    found, _ = batches(trainer("train.batch_size=4"), 0)
    assert [found.places[i] == found.places[0] for i in range(8)] == [True] * 4 + [False] * 4
    assert found.rewards_BF.flatten().tolist() == pytest.approx(varied(written(found)))
    for group in found.advantages_B.split(4):
        assert float(group.abs().max()) > 0.1
        assert float(group.sum()) == pytest.approx(0, abs=1e-5)


def test_rounds_depend_on_seed_and_number_alone(trainer: Any) -> None:
    """A resumed run writes them again: nothing that went before may count, torch's own generator least."""
    first, second = trainer(), trainer()
    torch.rand(17)
    later = second._maker.round(2)
    assert [written(first._maker.round(n)) for n in (0, 1, 2)][2] == written(later)
    assert written(trainer("train.seed=7")._maker.round(2)) != written(later)


def test_groups_that_are_drawn_alone_do_not_depend_on_the_size_of_the_round(trainer: Any) -> None:
    """So it is of no account how many processes there are."""
    alone = ["rl.rollout_batch_size=4"]
    small, large = trainer(*alone), trainer(*alone, "rl.steps_per_generation=4")
    parts = [small._maker.round(n) for n in (0, 1)]
    whole = large._maker.round(0)
    assert whole.places == parts[0].places + parts[1].places
    assert written(whole) == written(parts[0]) + written(parts[1])
    assert torch.equal(whole.advantages_B, torch.cat([part.advantages_B for part in parts]))


def test_completions_that_were_cut_count_no_tokens_where_they_give_no_loss(trainer: Any) -> None:
    found, micros = batches(trainer("rl.mask_truncated=true"), 0)
    ended = [rollout.finish != "length" for rollout in found.rollouts]
    assert [bool(c) for micro in micros for c in micro["counts"]] == ended
    whole = sum(len(r.ids) for r, counts in zip(found.rollouts, ended, strict=True) if counts)
    assert float(found.items) == whole
    every, micros = batches(trainer(), 0)
    assert float(every.items) == sum(len(rollout.ids) for rollout in every.rollouts) > whole
    assert all(bool(micro["counts"].all()) for micro in micros)


def test_an_unfinished_round_is_saved_and_taken_up_again(trainer: Any, tmp_path: Path) -> None:
    settings = ["rl.steps_per_generation=4", "rl.num_iterations=2"]
    made = trainer(*settings)
    before, _ = batches(made, 1)
    aside = tmp_path / "aside"
    aside.mkdir()
    made.state.global_step = 4
    made._fill_rank(aside)
    assert saved_places(aside, 0) is None
    made.state.global_step = 2
    made._fill_rank(aside)
    assert (aside / round_file(0)).is_file()
    (aside / "watch.json").write_text('{"watches": {}, "starts": {}}')
    other = trainer(*settings)
    other.resume_from(aside)
    after, micros = batches(other, 2)
    assert written(after) == written(before)
    assert [micro["number"] for micro in micros] == [0, 1]
    for a, b in zip([*before.old, *before.reference], [*after.old, *after.reference], strict=True):
        assert torch.equal(a.log_probs_BT, b.log_probs_BT)
    want = made._micro(before, 0)
    assert torch.equal(micros[0]["input_ids"], want["input_ids"])
    assert torch.equal(micros[0]["features"], want["features"])


def scores(trainer: GRPOTrainer, micro: dict[str, Any]) -> torch.Tensor:
    """Log-probabilities of a micro-batch's tokens under the weights in place."""
    with torch.no_grad():
        found: Scores = trainer.latent_model(batch=micro, stage=trainer.run.stage, scoring=Scoring())
    return found.log_probs_L


@pytest.mark.parametrize("kind", ["language", "lora", "tokens"])
def test_the_reference_stays_what_the_model_was_at_the_start(kind: str, trainer: Any) -> None:
    made = trainer(f"optim.trainable={kind}")
    _, micros = batches(made, 0)
    trained = {n: p for n, p in made.latent_model.named_parameters() if p.requires_grad}
    start = scores(made, micros[0])
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    moved = {name: parameter.detach().clone() for name, parameter in trained.items()}
    now = scores(made, micros[0])
    assert not torch.allclose(now, start)
    for _ in range(2):
        with made._reference.in_place():
            assert torch.allclose(scores(made, micros[0]), start, atol=1e-6)
        assert all(torch.equal(parameter, moved[name]) for name, parameter in trained.items())
        assert torch.equal(scores(made, micros[0]), now)


def test_the_policy_is_back_in_place_after_an_error(trainer: Any) -> None:
    made = trainer()
    weight = next(p for p in made.latent_model.parameters() if p.requires_grad)
    with torch.no_grad():
        weight.add_(1)
    moved = weight.detach().clone()

    def fail() -> None:
        with made._reference.in_place():
            assert not torch.equal(weight, moved)
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        fail()
    assert torch.equal(weight, moved)


def test_adapters_that_begin_with_the_run_are_not_kept_twice(trainer: Any) -> None:
    made = trainer("optim.trainable=lora")
    trained = {n: p.numel() for n, p in made.latent_model.named_parameters() if p.requires_grad}
    adapters = sum(size for name, size in trained.items() if "lora_" in name)
    assert adapters > 0
    assert made._reference.parameters == sum(trained.values()) - adapters


def test_epochs_are_passes_over_the_prompts(trainer: Any) -> None:
    """Six prompts; a round has one of them and gives one step, or two of them and four steps."""
    assert trainer().updates_per_epoch == 6
    assert trainer("rl.steps_per_generation=4", "rl.num_iterations=2").updates_per_epoch == 12
    whole = trainer("rl.steps=null", "rl.epochs=1.5")
    assert whole.run.steps == 9


def test_without_old_likelihoods_an_update_is_on_policy(trainer: Any, tmp_path: Path) -> None:
    """Training from the trainer alone: weights move, and a checkpoint between rounds has no rollouts."""
    made = trainer()
    (tmp_path / "checkpoints").mkdir()
    before = {n: p.detach().clone() for n, p in made.latent_model.named_parameters() if p.requires_grad}
    made.train()
    after = dict(made.latent_model.named_parameters())
    assert any(not torch.equal(after[name], value) for name, value in before.items())
    last = tmp_path / "checkpoints" / "step-4"
    assert not (last / round_file(0)).exists()
    assert load_file(last / "optimizer.safetensors")
