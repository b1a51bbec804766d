"""What the bottleneck costs: forward pass and training step of the text decoder against plain causal ones.

Run: python benchmarks/attention.py [--device auto] [--repeats 2] [--shapes 128 512] [--lengths 1024 4096]
     [--images 1 4] [--variants two_pass varlen mask flex] [--parts forward step errors]

A batch is two rows, one shorter and padded on the right: three quarters image tokens, a question, 16 latents
and a few answer tokens. The plan, the mask or the block mask is made in every step, and is part of it.
Variants take turns within a repeat; a ratio is the median over repeats of the ratios within a repeat, against
`causal`, which has no bottleneck and no mask. Without arguments a GPU takes four layers of Qwen3-VL-4B in
bfloat16 and sequences of 1k to 16k tokens; a CPU takes small decoders in float32. flex attention has no
gradients on a CPU: there it is measured in the forward pass alone, and left out where there is no g++.

The last table is of one attention layer: the largest error of its output and of its gradients against the
4-D mask in float64, as a share of the largest number there.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from _kernels import Heads, error, exact, make_roles, run, states
from _measure import arguments, begin, header, line, machine, medians, ratios, turns
from torch import Tensor
from transformers import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from latentvr.attention.kernels import implementation, prepare
from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK

VARIANTS = ("two_pass", "varlen", "mask", "flex")
#: What could not be measured, and why; it has no figures in the tables.
LEFT_OUT: list[str] = []


@dataclass(frozen=True)
class Shape:
    """A text decoder: width, layers, heads and inner width."""

    width: int
    layers: int
    heads: Heads
    inner: int


SHAPES = {
    "tiny": Shape(64, 2, Heads(4, 2, 16), 128),
    "128": Shape(128, 4, Heads(2, 1, 64), 512),
    "512": Shape(512, 2, Heads(8, 4, 64), 2048),
    "qwen3-vl-4b": Shape(2560, 4, Heads(32, 8, 128), 9728),
}
LENGTHS = {"tiny": [128], "cpu": [1024, 4096], "cuda": [1024, 2048, 4096, 8192, 16384]}


def build_decoder(shape: Shape, device: str, dtype: torch.dtype) -> Qwen3VLTextModel:
    """A random Qwen3-VL text decoder."""
    half = shape.heads.size // 2
    config = Qwen3VLTextConfig(
        vocab_size=64,
        bos_token_id=None,
        eos_token_id=None,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads.queries,
        num_key_value_heads=shape.heads.keys,
        head_dim=shape.heads.size,
        rope_parameters={
            "rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True,
            "mrope_section": [half - 2 * (half // 3), half // 3, half // 3],
        },
    )  # fmt: skip
    with torch.device(device):
        decoder = Qwen3VLTextModel(config)
    return decoder.to(dtype).train()


def make_call(decoder: Qwen3VLTextModel, roles: Tensor, variant: str, backward: bool) -> Callable[[], None]:
    """One forward pass, and the backward pass if wanted."""
    dtype = decoder.dtype
    embeds = torch.randn(*roles.shape, decoder.config.hidden_size, device=roles.device, dtype=dtype)
    positions = torch.arange(roles.shape[1], device=roles.device).expand(3, *roles.shape)
    answers = (roles == int(Role.ANSWER)).nonzero(as_tuple=True)

    def forward() -> Tensor:
        if variant == "causal":
            name, mask, extra = "sdpa", None, {}
        else:
            inputs = prepare(variant, BOTTLENECK, roles, dtype=dtype)
            name, mask, extra = implementation(variant), inputs.attention_mask, inputs.kwargs
        decoder.set_attn_implementation(name)
        given = embeds.requires_grad_(backward)
        out = decoder(
            inputs_embeds=given, position_ids=positions, attention_mask=mask, use_cache=False, **extra
        )
        answered: Tensor = out.last_hidden_state[answers]
        return answered

    def call() -> None:
        if backward:
            forward().float().square().mean().backward()
            decoder.zero_grad()
            embeds.grad = None
        else:
            with torch.no_grad():
                forward()

    return call


def report_times(options: argparse.Namespace, device: str, dtype: torch.dtype) -> None:
    """The table of passes and steps; a variant that does not run has no figures."""
    variants: list[str] = options.variants
    header(
        ["decoder", "what"],
        ["tokens", "images", "causal s", *(f"{n} s" for n in variants), *(f"{n} / causal" for n in variants)],
    )
    for name in options.shapes:
        decoder = build_decoder(SHAPES[name], device, dtype)
        for length in options.lengths:
            for images in options.images:
                roles = make_roles(length, images).to(device)
                for part in options.parts:
                    if part != "errors":
                        _time(decoder, roles, images, part, name, options, device)


def _time(
    decoder: Qwen3VLTextModel,
    roles: Tensor,
    images: int,
    part: str,
    name: str,
    options: argparse.Namespace,
    device: str,
) -> None:
    calls = {}
    for variant in ["causal", *options.variants]:
        if variant == "flex" and device == "cpu" and part == "step":
            continue
        call = make_call(decoder, roles, variant, part == "step")
        if fits(call, variant):
            calls[variant] = call
    taken = turns(calls, options.repeats, device, warm=0)
    times, found = medians(taken), ratios(taken, "causal")
    missing = float("nan")
    line(
        f"{name}, {SHAPES[name].layers} layers", part, roles.shape[1], images, times["causal"],
        *(times.get(v, missing) for v in options.variants),
        *(found.get(v, missing) for v in options.variants),
    )  # fmt: skip


def fits(call: Callable[[], None], variant: str) -> bool:
    """Whether it runs at all; the first call also compiles what is compiled."""
    try:
        call()
    except RuntimeError as reason:  # no memory, or no way to compile
        torch.cuda.empty_cache()
        LEFT_OUT.append(f"{variant}: {str(reason).strip().splitlines()[0]}")
        return False
    return True


def report_errors(
    name: str, lengths: Sequence[int], images: Sequence[int], variants: Sequence[str], device: str
) -> None:
    """The table of errors of one layer, in float32 and bfloat16."""
    columns = [f"{variant}, {what}" for variant in variants for what in ("output", "gradient")]
    header(["heads", "format"], ["tokens", "images", *columns])
    for dtype in (torch.float32, torch.bfloat16):
        for length in lengths:
            for count in images:
                roles = make_roles(length, count).to(device)
                given = states(SHAPES[name].heads, roles, dtype)
                expected = exact(BOTTLENECK, roles, given)
                cells = [cell for variant in variants for cell in _errors(variant, roles, given, expected)]
                heads = SHAPES[name].heads
                shown = f"{heads.queries}/{heads.keys} x {heads.size}"
                line(shown, str(dtype).removeprefix("torch."), length, count, *cells)


def _errors(variant: str, roles: Tensor, given: list[Tensor], expected: list[Tensor]) -> list[str]:
    try:
        return [f"{share:.1e}" for share in error(run(variant, BOTTLENECK, roles, given), expected)]
    except RuntimeError as reason:
        torch.cuda.empty_cache()
        LEFT_OUT.append(f"{variant}: {str(reason).strip().splitlines()[0]}")
        return ["-", "-"]


def main() -> None:
    """Print the machine and the tables."""
    parser = arguments(__doc__, 0)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES)
    parser.add_argument("--lengths", type=int, nargs="+")
    parser.add_argument("--images", type=int, nargs="+")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS)
    parser.add_argument(
        "--parts", nargs="+", choices=("forward", "step", "errors"), default=["forward", "step", "errors"]
    )
    options = parser.parse_args()
    device = begin(options)
    large = device == "cuda" or options.tiny
    dtype = torch.bfloat16 if large else torch.float32
    if device == "cuda":
        torch._dynamo.config.recompile_limit = 64  # flex attention is compiled for each length
    options.shapes = options.shapes or (
        ["tiny"] if options.tiny else ["qwen3-vl-4b"] if large else ["128", "512"]
    )
    options.lengths = options.lengths or LENGTHS["tiny" if options.tiny else device]
    options.images = options.images or ([1, 4] if large else [4])
    compiles = device == "cuda" or shutil.which("g++") is not None
    options.variants = options.variants or list(VARIANTS if compiles else VARIANTS[:3])
    options.repeats = options.repeats or (1 if options.tiny else 10 if large else 2)
    print(f"{machine(device, dtype)}; medians of {options.repeats}, two rows")
    if {"forward", "step"} & set(options.parts):
        report_times(options, device, dtype)
    if "errors" in options.parts:
        lengths = options.lengths if large else [min(512, *options.lengths)]
        checked = [name for name in options.variants if name != "flex" or device == "cuda"]
        report_errors(options.shapes[-1], lengths, options.images, checked, device)
    for reason in dict.fromkeys(LEFT_OUT):
        print(f"\nleft out: {reason}")


if __name__ == "__main__":
    main()
