"""A step of supervised fine-tuning at published sizes, random weights: plain, both stages of LIVR, and LVR.

Run: python benchmarks/sft_step.py [--device auto] [--models qwen2.5-vl-3b …] [--layers 2] [--rows 1]
     [--side 8] [--steps 4] [--checkpointing off on]

A step is forward, backward, clipping and AdamW with adapters (LoRA on the language model) under autocast; the
vision tower is frozen and encodes the images in every step. `stock` is what transformers.Trainer does with
the same model, adapters and samples: the model's own forward with labels, logits of every position. Without
arguments a GPU takes all four models whole in bfloat16, four rows of one image of 1024 visual tokens; a CPU
cuts them to two layers and takes short samples in float32.

First each variant trains a few steps on one batch, from the same adapters: the loss must be finite, every
trained tensor must have a finite gradient that is not zero, and nothing frozen any. Peaks of memory hold the
optimiser's state of all variants.
Then the variants take turns. `MFU` is the share of the card's products per second that goes into what a plain
step needs, whatever the variant computes besides:
    tokens x (4 N + 6 A) + 6 S^2 H d layers rows + 4 V D labels + 2 P patches
with N weights in matrices of the text layers (2 N forward, 2 N for the gradients of activations; frozen
weights have none of their own), A adapter weights, S tokens of a row, H heads of size d (half of all pairs),
V x D the head, which only labels need, and P weights in the blocks of the vision tower (forward alone).
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from _measure import (
    arguments,
    begin,
    header,
    line,
    machine,
    medians,
    peak_gib,
    product_rate,
    reset_peak,
    turns,
)
from _real import Size, load, samples, stock_inputs, with_method, with_models
from torch import Tensor

from latentvr.attention.kernels import implementation
from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.config.schema import LoraConfig, OptimConfig
from latentvr.data.encode import IGNORED
from latentvr.models.latent_model import LatentModel
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Stage
from latentvr.trainers.optimizer import adamw, parameter_groups

#: Method and visibility of each variant; `stock` trains on the samples of `direct`.
VARIANTS = {
    "stock": ("direct", CAUSAL),
    "direct": ("direct", CAUSAL),
    "livr stage 1": ("livr", BOTTLENECK),
    "livr stage 2": ("livr", CAUSAL),
    "lvr": ("lvr", CAUSAL),
}


@dataclass
class Variant:
    """One way to train a model on a batch."""

    name: str
    model: LatentModel
    batch: dict[str, Any]
    stage: Stage
    dtype: torch.dtype
    optimizer: torch.optim.Optimizer

    @property
    def trained(self) -> dict[str, Tensor]:
        """What trains, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def loss(self) -> Tensor:
        """Forward pass."""
        with torch.autocast(self.model.backbone.device.type, self.dtype, self.dtype != torch.float32):
            if self.name == "stock":
                given = stock_inputs(self.model, self.batch)
                found: Tensor = self.model.base(**given, labels=self.batch["labels"]).loss
                return found
            terms = self.model(self.batch, self.stage)
        counts = {"ce": (self.batch["labels"][:, 1:] != IGNORED).sum()}
        counts.update(self.model.reasoner.loss_counts(self.batch))
        return torch.stack([term.total / counts[k] * term.weight for k, term in terms.items()]).sum()

    def backward(self) -> float:
        """Forward and backward pass; gives the loss."""
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        return float(loss.detach())

    def update(self) -> None:
        """Clip the gradients and move."""
        torch.nn.utils.clip_grad_norm_(list(self.trained.values()), 1.0)
        self.optimizer.step()

    def step(self) -> None:
        """What is timed. The loss stays on the device."""
        self.optimizer.zero_grad()
        self.loss().backward()
        self.update()


def variants(stock: Any, processor: Any, size: Size, dtype: torch.dtype) -> dict[str, Variant]:
    """All of them, on one stock model and one set of adapters."""
    made: dict[str, Variant] = {}
    models: dict[str, LatentModel] = {}
    base: Any = None
    for name, (method, visibility) in VARIANTS.items():
        if method not in models:
            model = with_method(stock, processor, method, dtype)
            model.base = base if base is not None else model.base
            set_trainable(model, "lora", LoraConfig())
            models[method], base = model.train(), model.base
        model = models[method]
        optim = OptimConfig()
        optimizer = adamw(parameter_groups(model, optim, optim.learning_rate), optim)
        made[name] = Variant(name, model, samples(model, size), Stage(name, visibility), dtype, optimizer)
    return made


def use_kernel(variant: Variant) -> None:
    """Set the model's attention: stock or ours."""
    name = "sdpa" if variant.name == "stock" else implementation(variant.model.backbone.kernel)
    variant.model.backbone.model.set_attn_implementation({"text_config": name})


def check(name: str, variant: Variant, start: Mapping[str, Tensor], steps: int) -> None:
    """Train a few steps from the given adapters, and print what became of loss and gradients."""
    use_kernel(variant)
    with torch.no_grad():
        for key, parameter in variant.trained.items():
            if key in start:
                parameter.copy_(start[key])
    losses: list[float] = []
    for _ in range(steps):
        try:
            losses.append(variant.backward())
        except torch.OutOfMemoryError:
            variant.optimizer.zero_grad()
            line(name, variant.name, "out of memory", *["-"] * 3)
            return
        gradients = {key: p.grad for key, p in variant.trained.items()}
        variant.update()
    stray = [k for k, p in variant.model.named_parameters() if not p.requires_grad and p.grad is not None]
    missing = [key for key, grad in gradients.items() if grad is None or not bool(grad.isfinite().all())]
    idle = [key for key, grad in gradients.items() if grad is not None and not bool(grad.any())]
    finite = all(loss == loss and abs(loss) != float("inf") for loss in losses)
    assert finite, f"{name}, {variant.name}: loss {losses}"
    wrong = {"no gradient": missing, "a gradient of zero": idle, "a gradient though frozen": stray}
    assert not any(wrong.values()), f"{name}, {variant.name}: {wrong}"
    variant.optimizer.zero_grad()
    rows = variant.model.rows
    own = 0 if rows is None else sum(p.numel() for p in rows.parameters())
    line(name, variant.name, losses[0], losses[-1], len(gradients), own)


def useful(variant: Variant) -> float:
    """Operations of a plain step, by the formula above."""
    backbone, batch = variant.model.backbone, variant.batch
    config, layers = backbone.text_config, backbone.language_model.layers
    named = [(key, p.numel()) for key, p in layers.named_parameters() if p.dim() > 1]
    adapters = sum(count for key, count in named if "lora_" in key)
    weights = sum(count for _, count in named) - adapters
    tokens = (batch["roles"] != int(Role.PAD)).sum(1).float()
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pairs = float(tokens.square().sum()) * config.num_attention_heads * head * config.num_hidden_layers
    labels = int((batch["labels"] != IGNORED).sum())
    vision = sum(p.numel() for p in backbone.vision_tower.blocks.parameters())
    return (
        float(tokens.sum()) * (4 * weights + 6 * adapters)
        + 6 * pairs
        + 4 * backbone.embedding_weight.numel() * labels
        + 2 * vision * len(batch["pixel_values"])
    )


def measure(name: str, made: dict[str, Variant], repeats: int, device: str, rate: float, saved: str) -> None:
    """Time the variants in turn and print a row for each; one without enough memory is named and left out."""
    peaks: dict[str, float] = {}
    calls: dict[str, Callable[[], None]] = {}
    for key, variant in made.items():
        use_kernel(variant)
        reset_peak(device)
        try:
            variant.step()
        except torch.OutOfMemoryError:
            variant.optimizer.zero_grad()
            line(name, saved, key, "out of memory", *["-"] * 6)
            continue
        peaks[key] = peak_gib(device)
        calls[key] = variant.step
    times = medians(_turns(calls, made, repeats, device))
    for key, took in times.items():
        tokens = int((made[key].batch["roles"] != int(Role.PAD)).sum())
        against = times.get("stock", float("nan")) / took * tokens / _tokens(made["stock"])
        flops = useful(made[key])
        line(
            name,
            saved,
            key,
            tokens,
            took,
            tokens / took,
            against,
            flops / 1e12,
            flops / took / rate,
            peaks[key],
        )


def _tokens(variant: Variant) -> int:
    return int((variant.batch["roles"] != int(Role.PAD)).sum())


def _turns(
    calls: Mapping[str, Callable[[], None]], made: Mapping[str, Variant], repeats: int, device: str
) -> dict[str, list[float]]:
    """Turns in which the attention is set before the clock starts."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            use_kernel(made[name])
            taken[name] += turns({name: call}, 1, device, warm=0)[name]
    return taken


def report(options: argparse.Namespace, device: str, dtype: torch.dtype, size: Size) -> None:
    """Both tables of each model, which is freed before the next."""
    rate, source = product_rate(device, dtype, 64 if options.tiny else 2048)
    print(f"\nMFU against {source}")
    for name in options.models:
        stock, processor = load(name, device, dtype, options.layers, options.tiny)
        made = variants(stock, processor, size, dtype)
        start = {k: p.detach().clone() for k, p in made["stock"].trained.items()}
        columns = ["loss first", f"loss, step {options.steps}", "tensors that train", "values in token rows"]
        header(["model", "variant"], columns)
        for variant in made.values():
            check(name, variant, start, options.steps)
        columns = ["tokens", "step s", "tokens/s", "tokens/s / stock", "TFLOP", "MFU", "peak GiB"]
        header(["model", "checkpointing", "variant"], columns)
        for saved in options.checkpointing:
            if saved == "on":
                stock.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            else:
                stock.gradient_checkpointing_disable()
            measure(name, made, options.repeats, device, rate, saved)
        del stock, made, variant, start
        gc.collect()
        reset_peak(device)


def main() -> None:
    """Print the machine and the tables."""
    parser = arguments(__doc__, 0)
    with_models(parser, [])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--side", type=int, help="side of the image in visual tokens")
    parser.add_argument("--steps", type=int, help="steps of each variant before the clock, at least 2")
    parser.add_argument("--checkpointing", nargs="+", choices=("off", "on"))
    options = parser.parse_args()
    if options.steps == 1:
        parser.error("--steps must be at least 2: half of each adapter has no gradient in the first")
    device = begin(options)
    large = device == "cuda" or options.tiny
    dtype = torch.bfloat16 if large else torch.float32
    everything = ["qwen2.5-vl-3b", "qwen3-vl-4b", "llava-ov-1.5-4b", "qwen2.5-vl-7b"]
    options.models = options.models or (
        everything[2:3] if options.tiny else everything if large else everything[:3]
    )
    options.layers = options.layers or (None if large else 2)
    options.checkpointing = options.checkpointing or (["off", "on"] if large else ["off"])
    options.steps = options.steps or (4 if large else 2)
    options.repeats = options.repeats or (1 if options.tiny else 5 if large else 1)
    whole = device == "cuda" and not options.tiny
    size = Size(
        options.rows or (4 if whole else 1), options.side or (32 if whole else 8), 60 if whole else 24
    )
    cut = f"{options.layers} layers of each" if options.layers else "whole models"
    print(f"{machine(device, dtype)}; {cut}, {size.rows} row(s), images of {size.side**2} visual tokens")
    report(options, device, dtype, size)


if __name__ == "__main__":
    main()
