"""How much device memory a recipe will need: an estimate, part by part, for `--dry-run`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from latentvr.attention.visibility import Visibility, preset
from latentvr.config.rl_rules import buffer_passes
from latentvr.config.schema import Recipe, Trainable
from latentvr.data.collate import collate
from latentvr.data.encode import EncodedSample
from latentvr.evaluation.prompts import WINDOW
from latentvr.models.features import PATCHES_AT_ONCE
from latentvr.models.load import choose_kernel
from latentvr.models.memory.activations import adapters_of
from latentvr.models.memory.answering import Answers, replay_moments, writing
from latentvr.models.memory.batch import BatchShape, batch_shape
from latentvr.models.memory.held import Held, Trained, held, split_of
from latentvr.models.memory.moments import Moment, peak
from latentvr.models.memory.shape import Shape
from latentvr.models.memory.training import StepSettings, step_moments
from latentvr.runs.sft import stage_runs, validates, visibilities

GIB = 2**30
#: Labels of a row where no data is at hand.
_LABELS = 512


@dataclass(frozen=True)
class Numbers:
    """Parameters beside the backbone's.

    Attributes:
        own: of the method's rows and modules.
        adapters: of the linear layers' adapters.
        reference: values that are kept twice for a divergence from the start.
    """

    own: int
    adapters: int
    reference: int = 0


@dataclass(frozen=True)
class Plan:
    """What an estimate is made of.

    Attributes:
        recipe: all settings.
        shape: of the stock model.
        numbers: of further parameters.
        samples: encoded records, with answers for supervised training; empty where none are at hand.
        processes: of the launch.
    """

    recipe: Recipe
    shape: Shape
    numbers: Numbers
    samples: Sequence[EncodedSample]
    processes: int = 1

    def longest(self, count: int) -> list[EncodedSample]:
        """The longest samples, repeated where there are too few of them."""
        ordered = sorted(self.samples, key=lambda sample: -len(sample.ids))
        return [ordered[i % len(ordered)] for i in range(count)]

    def trained(self, kind: Trainable) -> Trained:
        """What trains, in the recipe's number formats."""
        model = self.recipe.model
        half = model.dtype != "float32"
        lora = kind == "lora"
        return Trained(
            kind,
            self.numbers.own,
            adapters_of(model.lora) if lora else None,
            self.numbers.adapters if lora else 0,
            weight_bytes=2 if half else 4,
            half=half,
            device="cpu" if self.recipe.train.device == "cpu" else "cuda",
        )

    def held(self, trained: Trained) -> Held:
        """What the run holds, the reference among the weights."""
        split = split_of(self.recipe.train.deepspeed, self.processes)
        found = held(self.shape, trained, split)
        return replace(found, weights=found.weights + 4 * self.numbers.reference)

    def settings(self, kernel: str) -> StepSettings:
        """Of an optimiser step."""
        train = self.recipe.train
        return StepSettings(kernel, self.recipe.model.gradient_checkpointing, train.gradient_accumulation > 1)


def memory_lines(plan: Plan, rl: bool = False) -> Iterator[str]:
    """Estimate a run and write the estimate as a table.

    Args:
        plan: what is known.
        rl: whether it is a run of reinforcement.

    Returns:
        Lines for a terminal.
    """
    if rl:
        return lines(reinforcement(plan), about(plan, packed=False))
    packed = plan.recipe.data.packing
    return lines(training(plan, packed), about(plan, packed))


def training(plan: Plan, packed: bool = False) -> list[tuple[str, Moment]]:
    """Estimate supervised training: the peak of each stage, and of validation.

    Args:
        plan: what is known.
        packed: whether rows hold several samples.

    Returns:
        Name of the phase, and its peak.
    """
    recipe, out = plan.recipe, []
    kernel = choose_kernel(recipe.model.attention, visibilities(recipe), packed)
    trained = plan.trained(recipe.optim.trainable)
    for run in stage_runs(recipe, 1):  # those with steps, however many
        name, visibility = run.stage.name, run.stage.visibility
        trained = plan.trained(recipe.stages[name].trainable or recipe.optim.trainable)
        batch = _batch(plan, visibility, kernel, packed)
        found = step_moments(plan.shape, trained, plan.held(trained), batch, plan.settings(kernel))
        out.append((f"stage {name}", peak(found)))
    if validates(recipe):
        out.append(("validation", _validation(plan, trained)))
    return out


def reinforcement(plan: Plan) -> list[tuple[str, Moment]]:
    """Estimate reinforcement: the peaks of rollouts, of replay and of validation.

    Args:
        plan: with samples of prompts.

    Returns:
        Name of the phase, and its peak.
    """
    recipe, trained = plan.recipe, plan.trained(plan.recipe.optim.trainable)
    rl, holds = recipe.rl, plan.held(trained)
    rows = rl.rollout_batch_size or recipe.train.batch_size * buffer_passes(recipe)
    rollouts = _answers(plan, rows, max(1, rows // rl.num_generations), 1)
    kernel = choose_kernel(recipe.model.attention, [preset(recipe.decode.visibility)])
    shares = rl.share_prompts and rl.replay == "recorded" and rl.num_generations > 1
    kernel = "mask" if shares and recipe.train.batch_size > 1 else kernel
    replayed = replay_moments(plan.shape, trained, holds, _replayed(plan, shares), plan.settings(kernel))
    out = [
        ("rollouts", writing("writing answers", plan.shape, trained, holds, replace(rollouts, whole=True))),
        ("updates", peak(replayed)),
    ]
    if validates(recipe):
        out.append(("validation", _validation(plan, trained)))
    return out


def _validation(plan: Plan, trained: Trained) -> Moment:
    rows = plan.recipe.eval.batch_size
    answers = _answers(plan, rows, rows, WINDOW)
    return writing("writing answers", plan.shape, trained, plan.held(trained), answers)


def _answers(plan: Plan, rows: int, prompts: int, batches: int) -> Answers:
    """Answers to the longest prompts; pictures of some batches are encoded together."""
    recipe = plan.recipe
    cached = recipe.data.feature_cache != "off"
    if plan.samples:
        chosen = plan.longest(prompts)
        longest = max(sample.prompt_length for sample in chosen)
        patches = sum(_patches(sample) for sample in chosen)
        values = next((s.pixel_values.shape[1] for s in chosen if s.pixel_values is not None), 0)
    else:
        longest, values = recipe.data.max_length, plan.shape.vision.patch_values
        patches = prompts * longest * plan.shape.vision.merge
    at_once = 0 if cached else min(batches * patches, max(PATCHES_AT_ONCE, patches // prompts))
    return Answers(rows, prompts, longest, recipe.decode.max_new_tokens, at_once, values)


def _patches(sample: EncodedSample) -> int:
    parts = (sample.pixel_values, sample.reference_values)
    return sum(part.shape[0] for part in parts if part is not None)


def _batch(plan: Plan, visibility: Visibility, kernel: str, packed: bool) -> BatchShape:
    """A micro-batch of the longest samples, or of full rows."""
    recipe = plan.recipe
    rows, cached = recipe.train.batch_size, recipe.data.feature_cache != "off"
    capacity = (recipe.data.pack_length if packed else None) or recipe.data.max_length
    if not plan.samples:
        return _unknown(plan.shape, rows, capacity, cached)
    found = batch_shape(collate(plan.longest(rows), 0), visibility, kernel)
    if packed:
        # Samples one after another fill the rows: all sizes grow with the tokens.
        found = batch_shape(collate(list(plan.samples), 0), visibility, kernel)
        share = rows * capacity / sum(len(sample.ids) for sample in plan.samples)
        scaled = {
            name: round(getattr(found, name) * share) for name in ("labels", "visual", "patches", "narrow")
        }
        found = replace(found, rows=rows, tokens=rows * capacity, **scaled)
    return replace(found, patches=0) if cached else found


def _unknown(shape: Shape, rows: int, length: int, cached: bool) -> BatchShape:
    """Rows of the greatest length, nearly all of it visual tokens."""
    visual = rows * length
    return BatchShape(
        rows=rows,
        tokens=rows * length,
        labels=rows * min(length, _LABELS),
        visual=visual,
        patches=0 if cached else visual * shape.vision.merge,
        patch_values=shape.vision.patch_values,
        narrow=rows * min(length, 2 * _LABELS),
    )


def _replayed(plan: Plan, shares: bool) -> BatchShape:
    """A micro-batch of answers behind their prompts, which those of a prompt share if they may."""
    recipe = plan.recipe
    size, new = recipe.train.batch_size, recipe.decode.max_new_tokens
    group = min(size, recipe.rl.num_generations) if shares else 1
    rows = -(-size // group)
    answers = _answers(plan, size, rows, 1)
    visual = rows * max((s.visual_tokens + s.reference_tokens for s in plan.samples), default=answers.prompt)
    tokens = rows * (answers.prompt + group * new)
    return BatchShape(
        rows, tokens, size * new, visual, answers.patches, answers.patch_values, narrow=tokens // 2
    )


def lines(phases: Sequence[tuple[str, Moment]], about: str) -> Iterator[str]:
    """Write an estimate as a table.

    Args:
        phases: name and peak of each.
        about: the batch that it is for.

    Yields:
        str: lines for a terminal.
    """
    most = max(moment.total for _, moment in phases)
    unit, size = ("GiB", GIB) if most >= GIB else ("MiB", GIB >> 10)
    yield f"device memory, estimated, at the peak of each phase, in {unit} ({about}):"
    names = [field.name for field in fields(Moment) if field.name != "name"]
    width = max(len(f"{phase}: {moment.name}") for phase, moment in phases)
    yield " ".join([" " * width, *(f"{name:>11}" for name in [*names, "all"])])
    for phase, moment in phases:
        numbers = (f"{value / size:>11.2f}" for value in [*moment.parts().values(), moment.total])
        yield " ".join([f"{f'{phase}: {moment.name}':<{width}}", *numbers])
    top = "CUDA itself and gaps between tensors come on top"
    yield f"at least {most / size:.1f} {unit}; {top}{_device(most)}"


def _device(need: int) -> str:
    """Whether this machine's device has as much."""
    if not torch.cuda.is_available():
        return ""
    _, total = torch.cuda.mem_get_info()
    fits = "more than that" if total > need else "too little"
    return f"; {torch.cuda.get_device_name()} has {total / GIB:.1f} GiB, {fits}"


def about(plan: Plan, packed: bool) -> str:
    """Say which batch an estimate is for, and how it is spread."""
    recipe: Any = plan.recipe
    rows = recipe.train.batch_size
    where = f"on each of {plan.processes} processes, " if plan.processes > 1 else ""
    if packed:
        what = f"{rows} rows of {recipe.data.pack_length or recipe.data.max_length:,} tokens"
    elif plan.samples:
        longest = max(len(sample.ids) for sample in plan.samples)
        what = f"{rows} x {longest:,} tokens, as the longest of the first {len(plan.samples)} records"
    else:
        what = f"{rows} x {recipe.data.max_length:,} tokens, nearly all of images: no record is at hand"
    return f"{where}{what}"
