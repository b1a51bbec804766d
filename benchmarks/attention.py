"""What the bottleneck costs: a training step of the text decoder against the plain causal step.

Run: python benchmarks/attention.py [--threads 1] [--repeats 3] [--widths 128 512] [--lengths 1024 4096]
     [--variants two_pass]

A batch is two rows, one shorter and padded on the right: three quarters image tokens in one to four
images, a question, 16 latents and a few answer tokens. Variants take turns within a repeat, so that a
slow minute of the machine hits all of them; the ratio is the median over repeats of the ratios within
a repeat. Times are processor time, which a busy machine changes least; with one thread it is the
step's own duration.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers
from torch import Tensor
from transformers import Qwen2_5_VLTextConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

from latentvr.attention.kernels import implementation, prepare
from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK

LATENTS, ANSWERS = 16, 8
HEAD = 64
LAYERS = {128: 4, 512: 8}
VARIANTS = ("two_pass", "varlen", "mask")


@dataclass(frozen=True)
class Row:
    """One line of the table; times are medians in processor seconds of forward and backward."""

    width: int
    length: int
    images: int
    seconds: dict[str, float]
    ratios: dict[str, float]


def rows(widths: list[int], lengths: list[int], repeats: int, variants: list[str]) -> list[Row]:
    """Measure every width with every length; short sequences hold one image, long ones four."""
    found = []
    for width in widths:
        decoder = build_decoder(width)
        for length in lengths:
            images = 1 if length <= 1024 else 4
            roles = make_roles(length, images)
            steps = {name: make_step(decoder, roles, name) for name in ["causal", *variants]}
            found.append(measure(steps, repeats, width, length, images))
    return found


def build_decoder(width: int) -> Qwen2_5_VLTextModel:
    """Return a random Qwen2.5-VL text decoder with two query heads per key head."""
    torch.manual_seed(0)
    heads = width // HEAD
    decoder = Qwen2_5_VLTextModel(
        Qwen2_5_VLTextConfig(
            vocab_size=64,
            bos_token_id=None,
            eos_token_id=None,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=LAYERS.get(width, 8),
            num_attention_heads=heads,
            num_key_value_heads=max(1, heads // 2),
            rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
        )
    )
    decoder.train()
    return decoder


def make_roles(length: int, images: int) -> Tensor:
    """Return roles of shape (2, length); the second row is an eighth shorter."""
    both = []
    for size in (length, length - length // 8):
        shown = 3 * size // 4 // images
        text = size - shown * images - LATENTS - ANSWERS
        between = text // (images + 1)
        row = ([Role.PROMPT] * between + [Role.IMAGE] * shown) * images
        row += [Role.PROMPT] * (text - between * images) + [Role.LATENT] * LATENTS + [Role.ANSWER] * ANSWERS
        both.append(row + [Role.PAD] * (length - size))
    return torch.tensor(both, dtype=torch.int8)


def make_step(decoder: Qwen2_5_VLTextModel, roles: Tensor, variant: str) -> Callable[[], None]:
    """Return one forward and backward; building the plan or the mask is part of it."""
    width = decoder.config.hidden_size
    embeds = torch.randn(*roles.shape, width)
    positions = torch.arange(roles.shape[1]).expand(3, *roles.shape)
    answers = roles == int(Role.ANSWER)

    def step() -> None:
        if variant == "causal":
            name, mask, extra = "sdpa", None, {}
        else:
            inputs = prepare(variant, BOTTLENECK, roles, dtype=embeds.dtype)
            name, mask, extra = implementation(variant), inputs.attention_mask, inputs.kwargs
        decoder.set_attn_implementation(name)
        out = decoder(
            inputs_embeds=embeds.requires_grad_(),
            position_ids=positions,
            attention_mask=mask,
            use_cache=False,
            **extra,
        )
        out.last_hidden_state[answers].square().mean().backward()
        decoder.zero_grad()

    return step


def measure(steps: dict[str, Callable[[], None]], repeats: int, width: int, length: int, images: int) -> Row:
    """Time the variants in turn, after one untimed round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if repeat:
                times[name].append(time.process_time() - start)
    ratios = {
        name: statistics.median(a / b for a, b in zip(taken, times["causal"], strict=True))
        for name, taken in times.items()
    }
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return Row(width, length, images, medians, ratios)


def main() -> None:
    """Print the machine and the table."""
    parser = argparse.ArgumentParser(description="Cost of the bottleneck on this machine's CPU.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{platform.system()} {platform.machine()}, {options.threads} thread(s), float32, "
        f"torch {torch.__version__}, transformers {transformers.__version__}, {options.repeats} repeats"
    )
    head = "".join(f"{name + ' s':>12}" for name in ["causal", *options.variants])
    print(
        f"{'width':>6}{'length':>8}{'images':>8}{head}" + "".join(f"{'x ' + n:>12}" for n in options.variants)
    )
    for width in options.widths:
        for length in options.lengths:
            (row,) = rows([width], [length], options.repeats, options.variants)
            times = "".join(f"{row.seconds[name]:>12.3f}" for name in row.seconds)
            ratios = "".join(f"{row.ratios[name]:>12.3f}" for name in options.variants)
            print(f"{row.width:>6}{row.length:>8}{row.images:>8}{times}{ratios}", flush=True)


if __name__ == "__main__":
    main()
