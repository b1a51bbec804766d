"""What a run holds all the time: weights, gradients, AdamW's moments, whole or split over processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latentvr.config.deepspeed_rules import read_settings
from latentvr.config.schema import Trainable
from latentvr.models.memory.activations import Adapters, Precision
from latentvr.models.memory.shape import Shape

#: Numbers in DeepSpeed's buffers for exchange where its settings name none, and of gathered weights.
BUCKET = 500_000_000
LIVE = 1_000_000_000
_FLOAT = 4


@dataclass(frozen=True)
class Split:
    """How DeepSpeed splits what a run holds (ZeRO, arXiv 1910.02054); weights keep their number formats.

    Attributes:
        stage: 2 splits optimiser and gradients, 3 weights too; 0 is plain data parallelism.
        processes: among which.
        optimizer_away: whether the optimiser's moments and the weights it steps lie in the host's memory.
        weights_away: whether weights lie there too, but for those in use.
        bucket: numbers in the buffers for exchange; None is the square of the width.
        live: numbers of gathered weights in use at once.
    """

    stage: int = 0
    processes: int = 1
    optimizer_away: bool = False
    weights_away: bool = False
    bucket: int | None = BUCKET
    live: int = LIVE


def split_of(settings: str | None, processes: int) -> Split:
    """Read how a run is split.

    Args:
        settings: path of DeepSpeed's JSON file; None is plain data parallelism.
        processes: of the launch.

    Returns:
        The split.

    Raises:
        RecipeError: the file cannot be used.
    """
    if settings is None:
        return Split(processes=processes)
    zero: dict[str, Any] = read_settings(settings)["zero_optimization"]
    bucket, live = zero.get("reduce_bucket_size", BUCKET), zero.get("stage3_max_live_parameters", LIVE)
    return Split(
        stage=int(zero["stage"]),
        processes=processes,
        optimizer_away=_is_away(zero, "offload_optimizer"),
        weights_away=_is_away(zero, "offload_param"),
        bucket=None if bucket == "auto" else int(bucket),
        live=LIVE if live == "auto" else int(live),
    )


def _is_away(zero: dict[str, Any], key: str) -> bool:
    return str((zero.get(key) or {}).get("device", "none")) != "none"


@dataclass(frozen=True)
class Trained:
    """What trains, and in which number format.

    Attributes:
        kind: as the recipe names it.
        own: parameters of the method's rows and modules, always in float32.
        adapters: of the linear layers, where `kind` is "lora".
        adapted: parameters of the adapters, in float32.
        weight_bytes: of a frozen weight.
        half: whether forward passes run under autocast in half precision.
        device: "cuda" or "cpu".
    """

    kind: Trainable
    own: int
    adapters: Adapters | None
    adapted: int
    weight_bytes: int
    half: bool
    device: str = "cuda"

    def precision(self) -> Precision:
        """Number formats in the text decoder."""
        return Precision(self.half, self.kind in ("language", "all"), self.device)

    def of_backbone(self, shape: Shape) -> int:
        """Parameters of the backbone that train."""
        if self.kind == "all":
            return shape.parameters
        return shape.parameters - shape.vision_parameters if self.kind == "language" else 0

    def count(self, shape: Shape) -> int:
        """Parameters that train."""
        return self.of_backbone(shape) + self.own + self.adapted

    def linear(self, shape: Shape) -> int:
        """Parameters of linear layers that train, the head's left out: autocast copies them in 2 bytes."""
        inside = shape.text.linear if self.kind in ("language", "all") else 0
        return inside + (shape.vision.linear if self.kind == "all" else 0) + self.adapted


@dataclass(frozen=True)
class Held:
    """Bytes that a process holds: 4 for each weight, gradient and each of two moments of what trains.

    Attributes:
        weights: all of them.
        gradients: after a backward pass, with the buffers that they are exchanged in.
        optimizer: moments, and with DeepSpeed its own copy of the weights.
        stepping: temporaries of the optimiser's step: AdamW over lists of tensors makes a square root of all
            second moments at once.
    """

    weights: int
    gradients: int
    optimizer: int
    stepping: int


def held(shape: Shape, trained: Trained, split: Split) -> Held:
    """Count what a process holds.

    Args:
        shape: of the model.
        trained: what trains.
        split: over processes.

    Returns:
        Bytes.
    """
    number, backbone = trained.count(shape), trained.of_backbone(shape)
    frozen = shape.parameters - backbone
    weights = frozen * trained.weight_bytes + number * _FLOAT
    moments, gradients, stepping = 2 * number * _FLOAT, number * _FLOAT, number * _FLOAT
    if split.stage == 0:
        exchanged = gradients if split.processes > 1 else 0  # buckets are copies
        return Held(weights, gradients + exchanged, moments, stepping)
    bucket = min(shape.text.width**2 if split.bucket is None else split.bucket, number) * _FLOAT
    gradients = gradients // split.processes + bucket
    if split.stage > 2:  # a frozen tower stays whole
        tower = 0 if trained.kind == "all" else shape.vision_parameters * trained.weight_bytes
        gathered = min(split.live * trained.weight_bytes, weights - tower)
        weights = tower + gathered + (0 if split.weights_away else (weights - tower) // split.processes)
    moments = (moments + number * _FLOAT) // split.processes  # and the weights that it steps
    stepping //= split.processes
    if split.optimizer_away:
        moments = stepping = 0
    return Held(weights, gradients, moments, stepping)
