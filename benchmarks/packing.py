"""What packing gains over padding: forward and backward of one optimiser step on the same samples.

Run: python benchmarks/packing.py [--device auto] [--repeats 3] [--mixes toy visual-cot] [--samples 24]
     [--batch 4] [--model qwen2.5-vl-3b] [--variants padded packed "packed, mask" single]

`padded` takes `--batch` samples per pass in random order, right-padded to the longest of them; `packed` lays
the same samples into rows of as many tokens as the largest padded batch could have, one row per pass, so that
both need about the same memory; `single` takes one sample per pass. Stage 1 of LIVR trains adapters under the
bottleneck, with the kernel that a run would choose: two_pass for padded batches, varlen for packed rows; the
4-D mask on packed rows stands beside them. Visual features are at hand, as with `data.feature_cache`: packing
changes nothing for the vision tower. Tokens per second count real tokens. Variants take turns within a
repeat; a ratio is the median over repeats of the ratios within a repeat, against `padded`.

The mixes: `toy` has the lengths of the library's generated scenes, all tasks alike, with 16 latents.
`visual-cot` is drawn to look like Visual-CoT and is not measured on it: prompts of 300 to 1500 tokens, nine
tenths of them visual, 16 latents, answers of 10 to 120 tokens, each evenly.

A CPU takes a random decoder of 4 layers and width 256 in float32; a GPU takes `--model` in bfloat16, its
published shape with random weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from _measure import arguments, begin, header, line, machine, medians, ratios, turns
from _real import MODELS, load, with_method
from _small import Shape, build

from latentvr.attention.kernels import implementation
from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK
from latentvr.config.schema import LoraConfig
from latentvr.data.collate import collate
from latentvr.data.encode import IGNORED, EncodedSample
from latentvr.data.packing import first_fit_decreasing
from latentvr.data.toy import TASKS, Toy
from latentvr.evaluation.evaluate import on_device
from latentvr.evaluation.prompts import encoder_for
from latentvr.models.latent_model import LatentModel
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Stage

VARIANTS = ("padded", "packed", "packed, mask", "single")
STAGE = Stage("bottleneck", BOTTLENECK)
LATENTS = 16
MEDIUM = Shape(256, 4, 4, 2, 1024)


@dataclass(frozen=True)
class Passes:
    """The forward passes of one optimiser step under one variant."""

    batches: list[dict[str, Any]]
    kernel: str

    @property
    def tokens(self) -> int:
        """Tokens that are no padding."""
        return sum(int((batch["roles"] != int(Role.PAD)).sum()) for batch in self.batches)

    @property
    def padding(self) -> float:
        """Share of padding in percent."""
        return 100 * (1 - self.tokens / sum(batch["roles"].numel() for batch in self.batches))


def model_of(options: argparse.Namespace, device: str) -> LatentModel:
    """A model with latents in its prompt, whose adapters train."""
    if device == "cuda" or options.tiny:
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        stock, processor = load(options.model, device, dtype, None, options.tiny)
    else:
        small, dtype = build(MEDIUM), torch.float32
        stock, processor = small.backbone.model, small.processor
    model = with_method(stock, processor, "livr", dtype)
    set_trainable(model, "lora", LoraConfig(dropout=0.0))
    return model.to(device).train()


def lengths_of(mix: str, count: int, model: LatentModel) -> list[tuple[int, int, int]]:
    """Numbers of visual tokens, of words before the latents, and of the answer's tokens of samples."""
    random = np.random.default_rng(0)
    if mix == "visual-cot":
        prompts, answers = random.integers(300, 1501, count), random.integers(10, 121, count)
        return [
            (9 * p // 10, p - 9 * p // 10, a) for p, a in zip(prompts.tolist(), answers.tolist(), strict=True)
        ]
    toy = Toy(TASKS, "train", -(-count // len(TASKS)), seed=0)
    encoder, found = encoder_for(model), []
    for i in random.permutation(len(toy.records))[:count].tolist():
        roles = encoder.encode(toy.records[i], toy.images(toy.records[i])).roles
        image, words, answer = (int((roles == role).sum()) for role in (Role.IMAGE, Role.PROMPT, Role.ANSWER))
        found.append((image, words, answer))
    return found


def sample(model: LatentModel, number: int, image: int, words: int, answer: int) -> EncodedSample:
    """A sample of these numbers of tokens with random words and features."""
    kinds = [Role.PROMPT, Role.IMAGE, Role.PROMPT, Role.LATENT, Role.ANSWER]
    counts = [words // 2, image, words - words // 2, LATENTS, answer]
    roles = torch.repeat_interleave(torch.tensor(kinds, dtype=torch.int8), torch.tensor(counts))
    ids = torch.randint(10, 250, roles.shape)
    ids[roles == Role.IMAGE] = model.image_token_id
    ids[roles == Role.LATENT] = torch.tensor(list(model.token_ids.values()))[:LATENTS]
    labels = torch.where(roles == Role.ANSWER, ids, IGNORED)
    levels = 1 + len(getattr(model.backbone.model.config.vision_config, "deepstack_visual_indexes", ()))
    features = torch.randn(levels, image, model.backbone.width)
    positions = torch.arange(len(ids)).expand(3, -1)
    grid = torch.tensor([[1, 2, 2 * image]])
    return EncodedSample(
        str(number), ids, roles, labels, positions, sum(counts[:4]), None, grid, features, image
    )


def passes(model: LatentModel, samples: list[EncodedSample], batch: int, variant: str) -> Passes:
    """Cut samples into the passes of a variant."""
    if variant.startswith("packed"):
        lengths = [len(one.ids) for one in samples]
        rows = first_fit_decreasing(lengths, batch * max(lengths))
        items: list[Any] = [[[samples[i] for i in row]] for row in rows]
        kernel = "mask" if variant.endswith("mask") else "varlen"
    else:
        size, kernel = (1 if variant == "single" else batch), "two_pass"
        items = [samples[i : i + size] for i in range(0, len(samples), size)]
    return Passes([on_device(collate(item, 0), model) for item in items], kernel)


def step(model: LatentModel, todo: Passes) -> None:
    """Forward and backward over all passes."""
    model.backbone.kernel = todo.kernel
    model.backbone.model.set_attn_implementation({"text_config": implementation(todo.kernel)})
    model.zero_grad()
    for batch in todo.batches:
        model(batch, STAGE)["ce"].total.backward()


def main() -> None:
    """Print the machine and the table."""
    parser = arguments(__doc__, 3)
    parser.add_argument("--mixes", nargs="+", default=["toy", "visual-cot"], choices=["toy", "visual-cot"])
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--model", choices=MODELS, default="qwen2.5-vl-3b")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    options = parser.parse_args()
    device = begin(options)
    model = model_of(options, device)
    print(f"{machine(device, model.backbone.embedding_weight.dtype)}, {options.repeats} repeats")
    print(f"{options.samples} samples, {options.batch} in a padded batch")
    header(["mix", "variant"], ["passes", "tokens per pass", "padding %", "s", "tokens/s", "x padded"])
    for mix in options.mixes:
        drawn = lengths_of(mix, options.samples, model)
        samples = [sample(model, i, *numbers) for i, numbers in enumerate(drawn)]
        todo = {name: passes(model, samples, options.batch, name) for name in options.variants}
        calls: dict[str, Callable[[], object]] = {k: partial(step, model, one) for k, one in todo.items()}
        taken = turns(calls, options.repeats, device)
        speed = ratios(taken, "padded") if "padded" in taken else dict.fromkeys(taken, float("nan"))
        for name, took in medians(taken).items():
            one = todo[name]
            count = len(one.batches)
            line(mix, name, count, one.tokens // count, one.padding, took, one.tokens / took, 1 / speed[name])


if __name__ == "__main__":
    main()
