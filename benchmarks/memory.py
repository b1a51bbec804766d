"""Estimated against measured memory of a training step, at published sizes.

Run: python benchmarks/memory.py [--models qwen3-vl-4b qwen2.5-vl-7b] [--layers N] [--side 16] [--device cpu]

The estimate is that of `--dry-run`. On a GPU the measured figures are the peaks of what PyTorch's allocator
gave out in two micro-batches and an optimiser step. On a CPU the same step runs on tensors without storage:
every operation is called, the bytes of the tensors that are alive are counted, and nothing is computed, so
that models of any size fit. CPU kernels keep a little else than CUDA's: dropout's mask takes 4 bytes there,
which the estimate is told. Ratios are estimate over measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import _measure
import _real
import torch
from _alive import OnCPU, OnGPU
from torch import nn

from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.config.schema import LoraConfig, ModelConfig, OptimConfig, Trainable
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import attach
from latentvr.models.memory.activations import adapters_of
from latentvr.models.memory.batch import batch_shape
from latentvr.models.memory.held import Split, Trained, held
from latentvr.models.memory.moments import Moment, peak
from latentvr.models.memory.shape import Shape, shape_of
from latentvr.models.memory.training import StepSettings, step_moments
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Stage
from latentvr.reasoners.registry import config_class
from latentvr.trainers.optimizer import adamw, parameter_groups

GIB = 2**30


@dataclass(frozen=True)
class Case:
    """A kind of training: method, what trains, and whether the bottleneck holds."""

    name: str
    method: str
    trainable: Trainable
    bottleneck: bool = False


CASES = {
    case.name: case
    for case in (
        Case("plain", "direct", "lora"),
        Case("livr-1", "livr", "lora", bottleneck=True),
        Case("livr-2", "livr", "lora"),
        Case("lvr", "lvr", "language"),
        Case("all", "livr", "all"),
    )
}


def built(options: argparse.Namespace, name: str, case: Case, device: str) -> tuple[LatentModel, Shape]:
    """A model whose parts train as the case says, and its shape; on a CPU on the meta device."""
    dtype = getattr(torch, options.dtype)
    stock, processor = _real.load(
        name, "meta" if device == "cpu" else device, dtype, options.layers, options.tiny
    )
    settings = ModelConfig(
        path="benchmark",
        dtype=options.dtype,
        attention=options.kernel,
        gradient_checkpointing=options.checkpointing,
    )
    shape = shape_of(stock)
    tables = list({id(part): part for part in (stock.get_input_embeddings(), stock.lm_head)}.values())
    if device == "cpu":  # new rows are made beside real ones; these take no memory until they are written
        _tables(tables, "cpu")
    reasoner = config_class(case.method)(name=case.method)
    model = attach(stock, processor, settings, reasoner, [BOTTLENECK if case.bottleneck else CAUSAL])
    if device == "cpu":
        _tables(tables, "meta")
    set_trainable(model, case.trainable, LoraConfig())
    return model, shape


def _tables(modules: Sequence[nn.Module], device: str) -> None:
    """Put embedding and head elsewhere, without their values; what was one matrix stays one."""
    made: dict[int, nn.Parameter] = {}
    for module in modules:
        old = module.weight
        assert isinstance(old, nn.Parameter)
        new = torch.empty(old.shape, dtype=old.dtype, device=device)
        module.weight = made.setdefault(id(old), nn.Parameter(new, requires_grad=False))


@dataclass(frozen=True)
class Measured:
    """Bytes: what is held, and the peaks of the passes and of the optimiser's step."""

    weights: int
    gradients: int
    optimizer: int
    passes: int
    step: int

    @property
    def held(self) -> int:
        """Weights, gradients and moments."""
        return self.weights + self.gradients + self.optimizer


def measured(
    model: LatentModel, batch: dict[str, Any], stage: Stage, device: str, half: bool, meter: OnCPU | OnGPU
) -> Measured:
    """Two micro-batches and a step, after a first step where there is real memory to settle."""
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = meter.now()
    optimizer = adamw(parameter_groups(model, OptimConfig(), 1e-4), OptimConfig())
    for group in optimizer.param_groups:
        group["foreach"] = True  # what PyTorch takes on CUDA
    for parameter in trained:
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        meter.count(moments)
        optimizer.state[parameter] = {"step": torch.tensor(0.0), **moments}
    moments_held = meter.now() - weights
    meter.count(batch)
    with meter.watched():
        meter.most()
        for _ in range(2):
            with torch.autocast(device, torch.bfloat16, enabled=half):
                terms: Any = model(batch, stage)
            torch.stack([term.total.float() for term in terms.values()]).sum().backward()
            del terms
        passes = meter.most()
        gradients = sum(p.grad.nbytes for p in trained if p.grad is not None)
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    return Measured(weights, gradients, moments_held, passes, meter.most())


def estimated(
    options: argparse.Namespace,
    model: LatentModel,
    shape: Shape,
    case: Case,
    batch: dict[str, Any],
    device: str,
) -> list[Moment]:
    """What `--dry-run` says of the same step."""
    own = sum(p.numel() for part in (model.rows, model.extra) if part is not None for p in part.parameters())
    lora = adapters_of(LoraConfig()) if case.trainable == "lora" else None
    adapted = sum(p.numel() for name, p in model.base.named_parameters() if "lora_" in name)
    half = options.dtype != "float32"
    trained = Trained(case.trainable, own, lora, adapted, 2 if half else 4, half=half, device=device)
    settings = StepSettings(model.backbone.kernel, options.checkpointing, accumulates=True)
    sizes = batch_shape(batch, BOTTLENECK if case.bottleneck else CAUSAL, model.backbone.kernel)
    return step_moments(shape, trained, held(shape, trained, Split()), sizes, settings)


def main() -> None:
    """Print the machine and the table."""
    parser = _measure.arguments(__doc__, 1)
    _real.with_models(parser, ["qwen2.5-vl-3b", "qwen3-vl-4b", "llava-ov-1.5-4b", "qwen2.5-vl-7b"])
    parser.add_argument(
        "--cases", nargs="+", choices=CASES, default=[name for name in CASES if name != "all"]
    )
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--side", type=int, default=16, help="side of the image in visual tokens")
    parser.add_argument("--answer", type=int, default=12, help="words of the answer")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--kernel", default="auto")
    options = parser.parse_args()
    device = _measure.begin(options)
    print(_measure.machine(device, getattr(torch, options.dtype)))
    words = ["model", "case", "trains", "recomputes", "rows x tokens"]
    numbers = [
        "held GiB",
        "passes GiB",
        "estimate",
        "ratio",
        "ratio above held",
        "step GiB",
        "ratio",
        "peak ratio",
    ]
    _measure.header(words, numbers)
    for name in options.models:
        for case in (CASES[chosen] for chosen in options.cases):
            for rows in options.rows:
                for options.checkpointing in (False, True):
                    try:
                        cells = row(options, name, case, rows, device)
                    except torch.OutOfMemoryError:
                        cells = [case.name, case.trainable, "out of memory"]
                    _measure.line(name, *cells)


def compared(
    options: argparse.Namespace, name: str, case: Case, rows: int, device: str
) -> tuple[Measured, list[Moment], int]:
    """Measured bytes, the estimate's moments, the optimiser's step last, and tokens of a row."""
    meter: OnCPU | OnGPU = OnCPU() if device == "cpu" else OnGPU()
    model, shape = built(options, name, case, device)
    meter.prepare(model)
    batch = _real.samples(model, _real.Size(rows, options.side, answer=options.answer))
    guess = estimated(options, model, shape, case, batch, device)
    stage = Stage(case.name, BOTTLENECK if case.bottleneck else CAUSAL)
    found = measured(model, batch, stage, device, options.dtype != "float32", meter)
    return found, guess, batch["input_ids"].shape[1]


def row(options: argparse.Namespace, name: str, case: Case, rows: int, device: str) -> list[object]:
    """A line of the table."""
    found, guess, tokens = compared(options, name, case, rows, device)
    passes, step = peak(guess[:-1]).total, guess[-1].total
    again = "yes" if options.checkpointing else "no"
    return [
        case.name, case.trainable, again, f"{rows} x {tokens}", found.held / GIB, found.passes / GIB,
        passes / GIB, passes / found.passes, (passes - found.held) / (found.passes - found.held),
        found.step / GIB, step / found.step, peak(guess).total / max(found.passes, found.step),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
