"""Reinforcement on one thread or one GPU: a log-probability pass over rollouts, and a whole optimiser step.

Run: python benchmarks/grpo.py [--repeats 3] [--shapes golden wide] [--groups 1 4] [--new 64] [--steps 3]

Models and prompts are those of decoding.py: an answer is eight latents, the closing marker and text, and no
answer stops early. A pass gives the log-probability of every token that eight answers to each prompt chose,
without gradient, with visual features from memory. `replay` feeds the latents that the rollout recorded: one
forward, in which the answers of a group stand behind one copy of their prompt; `apart` gives each answer a
prompt of its own. The others do too, and make the latents again: `cached` from a prefill and a step for each
latent; `prefixes` without a cache, a forward over all that stands before each latent; `whole` likewise, each
forward over prompt and answer. All end with a forward over prompt and answer, and all give the same
log-probabilities, which the script checks.

A step is one of the trainer's own: four prompts, eight rollouts each, rewards, log-probabilities of the
reference, and an update of the whole language model from one use of the rollouts, which needs no old
log-probabilities. Variants take turns within a repeat; figures are medians, on a CPU of processor time.
How much a prefill shared by a group saves is in decoding.py.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from decoding import PROMPT, SHAPES, STAGE, build, prompts
from PIL import Image
from torch import Tensor
from transformers import TrainerCallback

from latentvr.config.schema import DecodeConfig, ModelConfig, OptimConfig, Recipe, RLConfig, TrainConfig
from latentvr.data.collate import collate
from latentvr.data.encode import IGNORED, EncodedSample
from latentvr.data.record import Record
from latentvr.decoding.loop import generate
from latentvr.evaluation.evaluate import on_device
from latentvr.evaluation.prompts import encoder_for
from latentvr.models.device import choose_device
from latentvr.models.features import cache_features
from latentvr.models.latent_model import LatentModel
from latentvr.models.scoring import Scores, Scoring, latents_written, score
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Batch
from latentvr.reasoners.registry import config_class
from latentvr.rl.prompts import RoundPrompts
from latentvr.rl.replay import replay_batch
from latentvr.rl.rewards.call import Rewards
from latentvr.rl.rewards.context import RewardContext
from latentvr.rl.rewards.registry import resolve
from latentvr.trainers.grpo import GRPOTrainer
from latentvr.trainers.reference import Reference
from latentvr.trainers.signals import StopRequest
from latentvr.trainers.stage import StageRun

GROUP, LATENTS, TEMPERATURE, TOP_K = 8, 8, 0.9, 50
SCORING = Scoring(TEMPERATURE)
DEVICE = choose_device("auto")


def now() -> float:
    """Seconds: of the processor, or of the clock once the GPU has finished."""
    if DEVICE == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def medians(variants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Seconds of each variant, warm already."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, call in variants.items():
            started = now()
            call()
            seconds[name].append(now() - started)
    return {name: statistics.median(found) for name, found in seconds.items()}


def samples(model: LatentModel, count: int) -> list[EncodedSample]:
    """Prompts of decoding.py one by one, their images encoded."""
    given = prompts(model, count)
    patches = given["pixel_values"].chunk(count)
    made = [
        EncodedSample(
            id=str(row),
            ids=ids,
            roles=given["roles"][row],
            labels=torch.full_like(ids, IGNORED),
            positions=given["position_ids"][:, row],
            prompt_length=len(ids),
            pixel_values=patches[row],
            grid=given["image_grid_thw"][row : row + 1],
            visual_tokens=int(torch.eq(ids, model.image_token_id).sum()),
        )
        for row, ids in enumerate(given["input_ids"])
    ]
    cache_features(model, made)
    return made


def rollouts(model: LatentModel, groups: int, new: int) -> tuple[Batch, Batch]:
    """Eight answers to each of some prompts, ready for scoring: behind one copy of each prompt, and apart."""
    asked = samples(model, groups)
    decode = DecodeConfig(
        max_new_tokens=new, latent_steps=LATENTS, do_sample=True, temperature=TEMPERATURE, top_k=TOP_K
    )
    batch = on_device(collate(asked, model.processor.tokenizer.pad_token_id, "left"), model)
    rows = generate(model, batch, STAGE, decode, rollouts=GROUP)
    assert all(len(row.ids) == new and len(row.fed) == LATENTS for row in rows)
    each = [sample for sample in asked for _ in range(GROUP)]
    shared, apart = (
        on_device(replay_batch(model, each, rows, share=share), model) for share in (True, False)
    )
    return shared, apart


def without_cache(model: LatentModel, batch: Batch, whole: bool) -> Scores:
    """Make the latents again, a forward for each, then score; all prompts are of one length.

    With `whole`, each forward is over prompt and answer, otherwise over what stands before the latent.
    """
    features = model.features(batch)
    first, width = int(latents_written(model, batch)[0].int().argmax()), model.backbone.width
    latents = torch.zeros(len(batch["input_ids"]), LATENTS, width, device=DEVICE)  # (answers, latents, width)
    for latent in range(LATENTS):
        seen, fed = (None, LATENTS) if whole else (first + latent, latent)
        part = {key: batch[key][..., :seen] for key in ("input_ids", "roles", "position_ids")}
        slots = latents[:, :fed].flatten(0, 1)
        hidden = model.hidden(part, features, STAGE, slots=slots)
        latents[:, latent] = model.reasoner.latent_inputs(hidden[:, first + latent - 1])
    return score(model, {**batch, "recorded": latents.flatten(0, 1)}, STAGE, SCORING)


@torch.no_grad()
def passes(model: LatentModel, groups: int, new: int, repeats: int) -> dict[str, float]:
    """Seconds of a log-probability pass over `groups` times eight answers, in each way."""
    shared, batch = rollouts(model, groups, new)
    variants: dict[str, Callable[[], Scores]] = {
        "replay": lambda: score(model, shared, STAGE, SCORING),
        "apart": lambda: score(model, batch, STAGE, SCORING),
        "cached": lambda: score(model, batch, STAGE, Scoring(TEMPERATURE, regenerate=True)),
        "prefixes": lambda: without_cache(model, batch, whole=False),
        "whole": lambda: without_cache(model, batch, whole=True),
    }
    expected: Tensor = variants["replay"]().log_probs_L
    for call in variants.values():
        torch.testing.assert_close(call().log_probs_L, expected, rtol=0, atol=1e-3)
    return medians(variants, repeats)


@dataclass
class _Source:
    """Records of prompts that are encoded already."""

    records: Sequence[Record]

    def images(self, record: Record) -> list[Image.Image]:
        """None: nobody asks."""
        del record
        return []

    def where(self, record: Record) -> str:
        """Its id."""
        return record.id


class _Prompts(RoundPrompts):
    """Prompts of decoding.py for the trainer."""

    def __init__(self, model: LatentModel, count: int) -> None:
        self._made = samples(model, count)
        records = [Record(made.id, "none", "train", (), "", "a cat") for made in self._made]
        super().__init__(model, _Source(records), encoder_for(model, PROMPT), keep=True)

    def samples(self, places: Sequence[int]) -> list[EncodedSample]:
        return [self._made[place] for place in places]


class _Rewards(Rewards):
    """Rewards that note when they begin and end."""

    def __init__(self, rl: RLConfig, marks: list[float]) -> None:
        super().__init__(resolve(rl))
        self._marks = marks

    def __call__(self, context: RewardContext) -> Tensor:
        assert all(row.finish == "length" for row in context.rollouts)
        self._marks.append(now())
        made = super().__call__(context)
        self._marks.append(now())
        return made


class _StepEnd(TrainerCallback):
    """Notes when an optimiser step is done."""

    def __init__(self, marks: list[float]) -> None:
        self._marks = marks

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._marks.append(now())


class _Trainer(GRPOTrainer):
    """Notes when rollouts begin and the update begins, and keeps nothing."""

    marks: list[float]

    def get_batch_samples(self, *given: Any, **settings: Any) -> tuple[list[Any], Any]:
        self.marks.append(now())
        made = super().get_batch_samples(*given, **settings)
        self.marks.append(now())
        return made

    def _save_checkpoint(self, *_: Any, **__: Any) -> None:
        pass


def step_recipe(groups: int, new: int, steps: int, folder: str) -> Recipe:
    """A forward pass for each group; the paper's rate and divergence."""
    return Recipe(
        reasoner=config_class("lvr")(name="lvr"),
        model=ModelConfig(path="benchmark", dtype="float32"),
        optim=OptimConfig(trainable="language", learning_rate=5e-6),
        train=TrainConfig(output_dir=folder, batch_size=GROUP, gradient_accumulation=groups),
        rl=RLConfig(steps=steps, num_generations=GROUP, temperature=TEMPERATURE, top_k=TOP_K),
        decode=DecodeConfig(max_new_tokens=new, latent_steps=LATENTS),
    )


def step(model: LatentModel, groups: int, new: int, steps: int) -> dict[str, float]:
    """Seconds of the phases of an optimiser step; one step more to warm up."""
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        recipe = step_recipe(groups, new, steps + 1, folder)
        set_trainable(model, recipe.optim.trainable, recipe.model.lora)
        run = StageRun(STAGE, 0, 0, steps + 1, recipe.optim.learning_rate, True)
        given, rewards = _Prompts(model, groups), _Rewards(recipe.rl, marks)
        reference, stop = Reference(model, new_adapters=False), StopRequest()
        trainer = _Trainer(model, recipe, run, Path(folder), given, rewards, reference, None, stop)
        trainer.marks = marks
        trainer.add_callback(_StepEnd(marks))
        trainer.train()
    names = ("rollout", "reward", "reference", "update")
    assert len(marks) == (len(names) + 1) * (steps + 1)
    each = [marks[at : at + len(names) + 1] for at in range(len(names) + 1, len(marks), len(names) + 1)]
    found = {name: statistics.median(m[i + 1] - m[i] for m in each) for i, name in enumerate(names)}
    return {**found, "step": statistics.median(m[-1] - m[0] for m in each)}


def report(names: Sequence[str], groups: Sequence[int], new: int, repeats: int, steps: int) -> None:
    """Print both tables."""
    models = {name: build(SHAPES[name]).to(DEVICE) for name in names}
    head = " | ".join(f"{name} s | / replay" for name in ("apart", "cached", "prefixes", "whole"))
    print(f"\n| text decoder | answers | replay s | {head} |\n|---|{'--:|' * 10}")
    for name, model in models.items():
        for count in groups:
            found = passes(model, count, new, repeats)
            replay = found.pop("replay")
            others = " | ".join(f"{seconds:.4f} | {seconds / replay:.1f}" for seconds in found.values())
            print(f"| {SHAPES[name]} | {count * GROUP} | {replay:.4f} | {others} |", flush=True)
    print("\n| text decoder | answers | rollout s | reward s | reference s | update s | step s |")
    print(f"|---|{'--:|' * 6}")
    for name, model in models.items():
        found = step(model, max(groups), new, steps)
        figures = " | ".join(f"{seconds:.4f}" for seconds in found.values())
        print(f"| {SHAPES[name]} | {max(groups) * GROUP} | {figures} |", flush=True)


def main() -> None:
    """Print the machine and the tables."""
    parser = argparse.ArgumentParser(description="Reinforcement on this machine's GPU, or one CPU thread.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = "one thread" if DEVICE == "cpu" else torch.cuda.get_device_name()
    print(
        f"{platform.system()} {platform.machine()}, {device}, float32, torch {torch.__version__}, "
        f"transformers {transformers.__version__}; prompt {PROMPT}, {options.new} new ids, "
        f"{LATENTS} of them latent, groups of {GROUP}"
    )
    report(options.shapes, options.groups, options.new, options.repeats, options.steps)


if __name__ == "__main__":
    main()
