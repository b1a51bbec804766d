"""Reinforcement on one thread or one GPU: a log-probability pass over rollouts, and a whole optimiser step.

Run: python benchmarks/grpo.py [--device auto] [--repeats 2] [--shapes golden wide] [--groups 1 4] [--new 64]
     [--steps 3] [--models qwen3-vl-4b …] [--layers 2]

Models and prompts are those of decoding.py: an answer is eight latents, the closing marker and text, and no
answer stops early. A pass gives the log-probability of every token that eight answers to each prompt chose,
without gradient, with visual features from memory. `replay` feeds the latents that the rollout recorded: one
forward, in which the answers of a group stand behind one copy of their prompt; `apart` gives each answer a
prompt of its own. The others do too, and make the latents again: `cached` from a prefill and a step for each
latent; `prefixes` without a cache, a forward over all that stands before each latent; `whole` likewise, each
forward over prompt and answer. All end with a forward over prompt and answer, and all give the same
log-probabilities, which the script checks.

A step is one of the trainer's own: four prompts, eight rollouts each, rewards, log-probabilities of the
reference, and an update from one use of the rollouts, which needs no old log-probabilities. Small models in
float32 train the whole language model. A GPU also takes the steps of models of published sizes, whole, with
random weights in bfloat16, adapters (LoRA) and an image of 256 visual tokens in the prompt. Variants take
turns within a repeat; figures are medians.
How much a prefill shared by a group saves is in decoding.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from _grpo_step import GROUP, LATENTS, PHASES, TEMPERATURE, TOP_K, timed_steps
from _measure import arguments, begin, header, line, machine, medians, peak_gib, reset_peak, turns
from _real import load, with_method, with_models
from _small import GRID, PROMPT, SHAPES, STAGE, build, never_stop, prompts
from torch import Tensor

from latentvr.config.schema import DecodeConfig
from latentvr.data.collate import collate
from latentvr.data.encode import IGNORED, EncodedSample
from latentvr.decoding.loop import generate
from latentvr.evaluation.evaluate import on_device
from latentvr.models.features import cache_features
from latentvr.models.latent_model import LatentModel
from latentvr.models.scoring import Scores, Scoring, latents_written, score
from latentvr.reasoners.base import Batch
from latentvr.rl.replay import replay_batch

SCORING = Scoring(TEMPERATURE)


def samples(
    model: LatentModel, count: int, length: int = PROMPT, grid: tuple[int, int, int] = GRID
) -> list[EncodedSample]:
    """Prompts of decoding.py one by one, their images encoded."""
    given = prompts(model, count, length, grid)
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
    latents = torch.zeros(
        len(batch["input_ids"]), LATENTS, width, device=model.backbone.device
    )  # (answers, latents, width)
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
    return medians(turns(variants, repeats, model.backbone.device.type))


def report_small(options: argparse.Namespace, device: str) -> None:
    """Both tables of small models."""
    models = {name: build(SHAPES[name]).to(device) for name in options.shapes}
    columns = [
        cell for name in ("apart", "cached", "prefixes", "whole") for cell in (f"{name} s", "/ replay")
    ]
    header(["text decoder"], ["answers", "replay s", *columns])
    for name, model in models.items():
        for count in options.groups:
            found = passes(model, count, options.new, options.repeats)
            replay = found.pop("replay")
            cells = [cell for took in found.values() for cell in (took, f"{took / replay:.1f}")]
            line(SHAPES[name], count * GROUP, replay, *cells)
    header(["text decoder"], ["answers", *(f"{name} s" for name in (*PHASES, "step"))])
    groups = max(options.groups)
    for name, model in models.items():
        found = timed_steps(model, samples(model, groups), options.new, options.steps, "language")
        line(SHAPES[name], groups * GROUP, *found.values())


def report_real(options: argparse.Namespace, device: str) -> None:
    """The table of steps at published sizes, freed one after another."""
    side = 4 if options.tiny else 32
    length, groups = side * side // 4 + 64, max(options.groups)
    phases = [f"{name} s" for name in (*PHASES, "step")]
    header(["model"], ["prompt", "answers", *phases, "rollout ids/s", "peak GiB"])
    for name in options.models:
        stock, processor = load(name, device, torch.bfloat16, options.layers, options.tiny)
        model = with_method(stock, processor, "lvr", torch.bfloat16)
        never_stop(model)
        made = samples(model, groups, length, (1, side, side))
        reset_peak(device)
        found = timed_steps(model, made, options.new, options.steps, "lora", torch.bfloat16)
        rate = f"{groups * GROUP * options.new / found['rollout']:.0f}"
        line(name, length, groups * GROUP, *found.values(), rate, peak_gib(device))
        del stock, model, made
        reset_peak(device)


def main() -> None:
    """Print the machine and the tables."""
    parser = arguments(__doc__, 0)
    with_models(parser, [])
    parser.add_argument("--shapes", choices=SHAPES, nargs="*", help="small models")
    parser.add_argument("--groups", type=int, nargs="+")
    parser.add_argument("--new", type=int)
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    device = begin(options)
    options.repeats = options.repeats or (1 if options.tiny else 2)
    options.new = options.new or (12 if options.tiny else 64)
    options.steps = options.steps or (1 if options.tiny else 3)
    if options.shapes is None:
        options.shapes = ["golden"] if options.tiny else ["wide"] if device == "cuda" else list(SHAPES)
    options.models = options.models or (["qwen3-vl-4b"] if options.tiny else ["qwen2.5-vl-3b", "qwen3-vl-4b"])
    options.groups = options.groups or ([1] if options.tiny else [1, 4])
    detail = f"{options.new} new ids, {LATENTS} of them latent, groups of {GROUP}"
    if options.shapes:
        print(f"{machine(device)}; prompt {PROMPT}, {detail}")
        report_small(options, device)
    if device == "cuda" or options.tiny:
        print(f"\n{machine(device, torch.bfloat16)}; {detail}")
        report_real(options, device)


if __name__ == "__main__":
    main()
