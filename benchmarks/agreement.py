"""Do all kernels and both devices give the same numbers: exit code 1 where one does not.

Run: python benchmarks/agreement.py [--device auto] [--models qwen2.5-vl-3b …]

First table: one attention layer under each kernel and each visibility, over padded rows and over packed ones,
against the 4-D mask in float64; the figure is the largest error of the output and of the gradients as a share
of the largest number there. Second table: the tiny model of each family in float32, on the device with the
kernel that `auto` takes, against the CPU with the 4-D mask: loss, gradients of all that trains, and greedy
answers with their latents.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import torch
from _kernels import Heads, error, exact, make_roles, run, states
from _measure import arguments, begin, header, line, machine
from _real import Size, load, with_models
from _small import STAGE, prompts
from sft_step import VARIANTS, Variant, use_kernel, variants
from torch import Tensor

from latentvr.attention.kernels import KERNELS
from latentvr.attention.visibility import PRESETS
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.loop import generate
from latentvr.evaluation.evaluate import on_device

HEADS = Heads(8, 2, 64)
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2}
FAR = 1e-3  # of the loss and of gradients through whole models in float32


def rows_of(device: str) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Roles, and documents where rows are packed."""
    for images in (1, 4):
        roles = make_roles(256, images).to(device)
        yield f"padded on the right, {images} image(s)", roles, None
        yield f"padded on the left, {images} image(s)", roles.roll(32, 1), None
    row = torch.cat([part[part != 0] for part in make_roles(128, 1)])
    sizes = [int((part != 0).sum()) for part in make_roles(128, 1)]
    documents = torch.repeat_interleave(torch.arange(2), torch.tensor(sizes))
    yield "packed", row[None].repeat(2, 1).to(device), documents[None].repeat(2, 1).to(device)


def layers(device: str, kernels: Sequence[str]) -> bool:
    """The table of kernels; whether all are near enough."""
    fine = True
    header(["kernel", "rows", "format"], ["output", "gradients", "limit"])
    for dtype, limit in TOLERANCE.items():
        for name, roles, documents in rows_of(device):
            given = states(HEADS, roles, dtype)
            expected = {v: exact(PRESETS[v], roles, given, documents) for v in PRESETS}
            for kernel in kernels:
                if kernel == "two_pass" and documents is not None:
                    continue  # it refuses packed rows
                found = [
                    error(run(kernel, v, roles, given, documents), expected[key])
                    for key, v in PRESETS.items()
                ]
                worst = [max(column) for column in zip(*found, strict=True)]
                fine &= max(worst) < limit
                line(kernel, name, str(dtype)[6:], *(f"{value:.1e}" for value in worst), f"{limit:.0e}")
    return fine


def twins(name: str, device: str) -> tuple[dict[str, Variant], dict[str, Variant]]:
    """Ways to train a tiny model on the CPU and on the device, with the same weights and without dropout."""
    both = []
    for place in ("cpu", device):
        made = variants(*load(name, place, torch.float32, None, True), Size(2, 4, 12, 4), torch.float32)
        for variant in made.values():
            variant.model.eval()
        both.append(made)
    first, second = both
    with torch.no_grad():
        for key, parameter in first["direct"].trained.items():
            if "lora_B" in key:
                parameter.normal_(std=0.02)
    for key, variant in first.items():
        variant.model.backbone.kernel = "mask"
        second[key].model.load_state_dict(variant.model.state_dict())
    return first, second


def gap(here: list[Tensor], there: list[Tensor]) -> float:
    """Largest difference between lists of tensors, as a share of the largest number."""
    largest = max(float(a.abs().max()) for a in here)
    return max(float((a - b.cpu()).abs().max()) for a, b in zip(here, there, strict=True)) / largest


def models(names: list[str], device: str) -> bool:
    """The table of models; whether all are near enough."""
    fine = True
    header(["family", "variant"], ["loss", "difference", "gradients", "same answers", "latents"])
    for name in names:
        here, there = twins(name, device)
        for key in VARIANTS:
            if key == "stock":
                continue
            pair = (here[key], there[key])
            for variant in pair:
                use_kernel(variant)
            losses = [variant.backward() for variant in pair]
            grads = [[p.grad for p in v.trained.values() if p.grad is not None] for v in pair]
            apart = gap(*grads)
            same, latents = answers(*pair)
            fine &= abs(losses[0] - losses[1]) < FAR and apart < FAR and same and not latents > FAR
            line(name, key, losses[0], f"{abs(losses[0] - losses[1]):.1e}", f"{apart:.1e}", same, latents)
    return fine


def answers(here: Variant, there: Variant) -> tuple[bool, float]:
    """Whether greedy answers are the same, and how far their latents are apart."""
    torch.manual_seed(1)
    given = prompts(here.model, 2, 40, (1, 4, 6))
    decode = DecodeConfig(max_new_tokens=12, latent_steps=4)
    rows = [generate(v.model, on_device(given, v.model), STAGE, decode) for v in (here, there)]
    same = all(a.ids == b.ids for a, b in zip(*rows, strict=True))
    fed = [[row.fed for row in some if len(row.fed)] for some in rows]
    return same, gap(*fed) if same and fed[0] else float("nan")


def main() -> int:
    """Print both tables."""
    parser = arguments(__doc__, 1)
    with_models(parser, ["qwen2.5-vl-3b", "qwen3-vl-4b", "llava-ov-1.5-4b"])
    options = parser.parse_args()
    device = begin(options)
    torch.backends.cudnn.allow_tf32 = False  # it would round the patches
    print(machine(device))
    others = [kernel for kernel in KERNELS if kernel != "flex"]
    fine = [layers(device, others), models(options.models, device)]
    if device == "cuda":  # last, as it has to be compiled, which may fail
        fine.append(layers(device, ["flex"]))
    print("\nall within their limits" if all(fine) else "\nNOT all within their limits")
    return int(not all(fine))


if __name__ == "__main__":
    sys.exit(main())
