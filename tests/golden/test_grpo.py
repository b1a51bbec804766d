"""GRPO on golden rollouts: replay of what was fed, advantages, loss, divergence and gradients.

The files hold what the published code fed, and what a right replay makes of it (`aligned_...`). Numbers of
its own replay (`official_...`) are wrong, and one test says that ours are not those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentvr.attention.roles import Role
from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import LoraConfig, RLConfig
from latentvr.data.encode import IGNORED, EncodedSample
from latentvr.decoding.rollout import Rollout
from latentvr.models.scoring import Scoring, replayed_slots
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Stage
from latentvr.rl.advantages import advantages
from latentvr.rl.objective import Averaging, Likelihoods, Objective, likelihoods, objective
from latentvr.rl.replay import replay_batch

STAGE = Stage("grpo", CAUSAL)
RL = RLConfig(beta=0.04, kl="k3", epsilon=0.2, loss_type="bnpo", temperature=0.9)
LAYOUTS = pytest.mark.parametrize("layout", ["right", "left", "shared"])
KERNELS = pytest.mark.parametrize("kernel", ["mask", "two_pass"])


@dataclass
class Group:
    """The rollouts of one file, as ours are."""

    arrays: dict[str, Tensor]
    samples: list[EncodedSample]
    rollouts: list[Rollout]

    @property
    def chosen_BT(self) -> Tensor:
        """Tokens that generation chose: all outside the slots."""
        return self.arrays["completion_mask"].bool() & ~self.arrays["gen_latent_mask"]

    def batch(self, model: Any, layout: str = "right", counted: bool = False) -> dict[str, Any]:
        """A batch for replay; with `counted`, only what the file's loss counts has labels."""
        samples, share = self.samples, layout == "shared"
        if share:  # all completions of a file answer one prompt
            assert len({tuple(sample.ids.tolist()) for sample in samples}) == 1
            samples = samples[:1] * len(samples)
        padded: Any = "left" if layout == "left" else "right"
        batch = replay_batch(model, samples, self.rollouts, padded, share)
        if counted:
            # The file's mask follows the markers: in a second span it may count ids that nothing was made of.
            inside = self.arrays["completion_mask"].bool()
            counts = self.arrays["final_mask"].bool() & inside
            labels = torch.where(counts, self.arrays["completion_ids"], IGNORED)[inside]
            batch["labels"] = torch.full_like(batch["labels"], IGNORED).masked_scatter(
                batch["completion"], labels
            )
            batch["chosen"] = counts
        batch["counts"] = torch.ones(len(self.rollouts), dtype=torch.bool)
        batch["advantages"] = self.arrays["advantages"]
        return batch


def _sample(model: Any, ids: Tensor, pixels: Tensor, grid: Tensor) -> EncodedSample:
    """A prompt of a file, its padding taken away."""
    image = torch.eq(ids, model.image_token_id)
    roles = torch.where(image, int(Role.IMAGE), int(Role.PROMPT)).to(torch.int8)
    positions = model.backbone.positions(ids[None], image[None], grid if len(grid) else None)[:, 0]
    labels = torch.full_like(ids, IGNORED)
    return EncodedSample("", ids, roles, labels, positions, len(ids), pixels, grid)


def _samples(model: Any, arrays: dict[str, Tensor]) -> list[EncodedSample]:
    """The prompts of a file, each with as many images as it has visual tokens for."""
    merged, out = model.processor.image_processor.merge_size**2, []
    grids, pixels = [*arrays["image_grid_thw"]], arrays["pixel_values"]
    for ids, mask in zip(arrays["prompt_ids"], arrays["prompt_mask"].bool(), strict=True):
        wanted, own = int((ids[mask] == model.image_token_id).sum()) * merged, []
        while wanted > sum(int(grid.prod()) for grid in own):
            own.append(grids.pop(0))
        patches, pixels = pixels[:wanted], pixels[wanted:]
        grid = torch.stack(own) if own else torch.zeros(0, 3, dtype=torch.long)
        out.append(_sample(model, ids[mask], patches, grid))
    assert not grids
    assert not len(pixels)
    return out


def _rollout(golden: Any, ids: Tensor, slot: Tensor, latents: Tensor) -> Rollout:
    """A completion; the ids in the slots of the file are samples that nothing was made of."""
    written = torch.where(slot, golden.token("<|lvr|>"), ids).tolist()
    chosen = (~slot).tolist()
    return Rollout(
        written, slot.tolist(), chosen, [0.0] * len(ids), latents[slot], [], latents[:0], "length"
    )  # fmt: skip


def _group(golden: Any, model: Any, file: str) -> Group:
    arrays = {name: torch.from_numpy(value) for name, value in golden.arrays(file).items()}
    rows = zip(
        *(arrays[k] for k in ("completion_ids", "gen_latent_mask", "gen_latents", "completion_mask")),
        strict=True,
    )
    rollouts = []
    for ids, slot, latents, mask in rows:
        length = int(mask.sum())
        assert mask[:length].all()
        rollouts.append(_rollout(golden, ids[:length], slot[:length], latents[:length]))
    # A file may be wider than its longest completion.
    longest = max(len(rollout.ids) for rollout in rollouts)
    wide = arrays["completion_ids"].shape
    cut = {name: array[:, :longest] if array.shape[:2] == wide else array for name, array in arrays.items()
           if not name.startswith("prompt")}  # fmt: skip
    return Group({**arrays, **cut}, _samples(model, arrays), rollouts)


def _scored(model: Any, group: Group, layout: str, temperature: float, counted: bool = False) -> Likelihoods:
    """Log-probabilities by columns."""
    batch = group.batch(model, layout, counted)
    return likelihoods(model(batch, STAGE, Scoring(temperature, suppress=False)), batch, RL)


@LAYOUTS
@KERNELS
@torch.no_grad()
def test_logits_and_log_probs_of_replay(
    golden: Any, models: Any, agree: Any, grpo_file: str, kernel: str, layout: str
) -> None:
    """At every place of the completions, latents and what follows them included."""
    model = models.load("model_rl", kernel, layout="A")
    group = _group(golden, model, grpo_file)
    batch = group.batch(model, layout)
    features = model.features(batch)
    hidden = model.hidden(batch, features, STAGE, slots=replayed_slots(model, batch, features, STAGE))
    there = batch["completion"]
    predicting = hidden[there.nonzero()[:, 0], batch["before"][there]]
    logits = model.logits(predicting, suppress=False)
    inside = group.arrays["completion_mask"].bool()
    agree("logits", logits, group.arrays["gen_logits"][inside], "of generation")
    agree("logits", logits, group.arrays["aligned_logits"][inside], "of replay")
    for temperature, key in ((1.0, "aligned_logps_T1"), (0.9, "aligned_logps_T09")):
        found = _scored(model, group, layout, temperature).log_probs_BT[group.chosen_BT]
        agree("log-probabilities", found, group.arrays[key][group.chosen_BT], key)
    reference = models.load("model_rl_ref", kernel, layout="A")
    found = _scored(reference, group, layout, 0.9).log_probs_BT[group.chosen_BT]
    agree("log-probabilities", found, group.arrays["aligned_ref_logps_T09"][group.chosen_BT], "reference")


@LAYOUTS
@torch.no_grad()
def test_replay_is_not_the_published_one(golden: Any, models: Any, grpo_file: str, layout: str) -> None:
    """It feeds latents that it recomputes one place off; ours are not its numbers, and latents are felt."""
    model = models.load("model_rl", layout="A")
    group = _group(golden, model, grpo_file)
    chosen = group.chosen_BT
    if not group.arrays["gen_latent_mask"].any():
        pytest.skip("no completion of the group has latents")
    found = _scored(model, group, layout, 0.9).log_probs_BT
    assert float((found - group.arrays["official_logps_T09"])[chosen].abs().max()) > 1e-3
    blank = [replace(rollout, fed=torch.zeros_like(rollout.fed)) for rollout in group.rollouts]
    without = _scored(model, replace(group, rollouts=blank), layout, 0.9).log_probs_BT
    assert float((without - found)[chosen].abs().max()) > 1e-3


def test_advantages(golden: Any, agree: Any, grpo_file: str) -> None:
    arrays = golden.arrays(grpo_file)
    rewards = torch.from_numpy(arrays["rewards"]).sum(1).float()
    agree("advantages", advantages(rewards, len(rewards), "group"), arrays["advantages"])


@LAYOUTS
@KERNELS
def test_loss_and_gradients(
    golden: Any, models: Any, agree: Any, grpo_file: str, kernel: str, layout: str
) -> None:
    model, group, found = _step(golden, models, grpo_file, kernel, layout)
    agree("losses", found.loss, group.arrays["loss_aligned"], "policy and divergence")
    divergence = found.values["kl"].sum() / max(1, len(found.values["kl"]))
    agree("losses", divergence, group.arrays["kl_aligned"], "divergence")
    assert not found.values["clip_ratio/region_mean"].any()
    found.loss.backward()
    wanted = golden.json("grpo/grpo.json")[Path(grpo_file).stem]["grad_norm_aligned"]
    norms = _norms(model)
    assert set(norms) == set(wanted)
    for name, norm in wanted.items():
        agree("gradient norms", norms[name], norm, name)


def _step(golden: Any, models: Any, file: str, kernel: str, layout: str) -> tuple[Any, Group, Objective]:
    """The loss of a file's group, on the policy's language model."""
    model = models.load("model_rl", kernel, layout="A")
    reference = models.load("model_rl_ref", kernel, layout="A")
    set_trainable(model, "language", LoraConfig())
    group = _group(golden, model, file)
    batch = group.batch(model, layout, counted=True)
    with torch.no_grad():
        other = _scored(reference, group, layout, RL.temperature, counted=True)
    now = _scored(model, group, layout, RL.temperature, counted=True)
    items = batch["chosen"].sum().float()
    averaging = Averaging(1, items, processes=1, steps_per_generation=1, max_length=batch["chosen"].shape[1])
    return model, group, objective(now, None, other, batch, RL, averaging)


def _norms(model: Any) -> dict[str, Tensor]:
    """Norms of gradients by published names; those of the new tokens' rows belong to the two matrices."""
    matrices = {"model.embed_tokens.weight": (model.rows.ids, model.rows.rows)}
    if model.rows.head_rows is not None:
        matrices["lm_head.weight"] = (model.rows.ids[model.rows.written], model.rows.head_rows)
    found: dict[str, nn.Parameter] = {
        f"model.{name}": parameter for name, parameter in model.backbone.language_model.named_parameters()
    }
    if model.rows.head_rows is not None:
        found["lm_head.weight"] = model.backbone.model.lm_head.weight
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in found.items()}
    for name, (ids, rows) in matrices.items():
        gradients[name].index_add_(0, ids, torch.zeros_like(rows) if rows.grad is None else rows.grad)
    return {name: gradient.norm() for name, gradient in gradients.items()}
