"""First phase of the tiny backbone: the vision tower learns to say what each cell of a scene holds.

A question mixture alone does not teach a vision tower of this size anything in minutes; labels for every
visual token do. The heads that read the labels are thrown away afterwards.

Shape letters: B images, N visual tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from latentvr.config.pretrain import VisionPhase
from latentvr.data.processor import Processor
from latentvr.data.toy import COLOURS, NONE, Scene, Toy, scene
from latentvr.data.toy.scenes import Pixels
from latentvr.models.backbone import Backbone
from latentvr.runs.phase_progress import PhaseProgress
from latentvr.trainers.optimizer import rate

#: Number of classes of each label; the last class of each is "nothing here".
CLASSES = {"digits": 11, "colours": len(COLOURS) + 1, "marks": 2, "letters": 5}
CELL = 16
PIXELS = 8


class CellHeads(nn.Module):
    """Linear readers of one visual token: four labels and a small picture of its cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.labels = nn.ModuleDict({name: nn.Linear(width, n) for name, n in CLASSES.items()})
        self.pixels = nn.Linear(width, PIXELS * PIXELS * 3)

    def loss(
        self, features_ND: Tensor, labels: dict[str, Tensor], pixels: Tensor, pixel_weight: float
    ) -> Tensor:
        """Mean cross-entropies of the labels plus the weighted squared error of all pixels.

        Args:
            features_ND: visual tokens; those of scenes come first.
            labels: class ids (tokens of the scenes,) by name.
            pixels: targets (N, values), from `cell_pixels`.
            pixel_weight: weight of the pixel term.

        Returns:
            The loss, a scalar with gradient.
        """
        total = pixel_weight * functional.mse_loss(self.pixels(features_ND), pixels)
        for name, wanted in labels.items():
            total = total + functional.cross_entropy(self.labels[name](features_ND[: len(wanted)]), wanted)
        return total


def train_vision(
    backbone: Backbone,
    processor: Processor,
    phase: VisionPhase,
    seed: int,
    progress: PhaseProgress | None = None,
) -> tuple[CellHeads, list[float]]:
    """Train vision tower and projector on scenes drawn on the fly, in place.

    Args:
        backbone: a float32 model of a tiny family.
        processor: its processor.
        phase: settings.
        seed: of heads, scenes and the order of plain images.
        progress: told after every step.

    Returns:
        The heads, and the loss of every step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = CellHeads(backbone.width)
    pool = _plain_pool(phase, seed)
    rng = np.random.default_rng(seed)
    parameters = [*backbone.vision_tower.parameters(), *heads.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=phase.learning_rate, weight_decay=phase.weight_decay)
    warmup, losses = int(phase.warmup * phase.steps), list[float]()
    for step in range(phase.steps):
        share = rate(step + 1, warmup=warmup, total=phase.steps, schedule="cosine")
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate * share
        first = step * phase.batch_size
        scenes = [scene("train", seed, first + i) for i in range(phase.batch_size)]
        plain = [pool[i] for i in rng.integers(0, max(1, len(pool)), phase.plain_images if pool else 0)]
        loss = _scene_loss(backbone, processor, heads, scenes, plain, phase.pixel_weight)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if progress:
            progress("vision", step + 1, phase.steps, losses[-1])
    return heads, losses


@torch.no_grad()
def cell_accuracy(
    backbone: Backbone, processor: Processor, heads: CellHeads, split: str, seed: int, n: int
) -> dict[str, tuple[int, int]]:
    """Count right labels on n fresh scenes: (right, all) by label, over the cells that hold such a thing.

    The key `empty` counts cells without a digit for which all four labels are right.
    """
    scenes = [scene(split, seed, i) for i in range(n)]
    labels = cell_labels(scenes)
    features_ND = _features(backbone, processor, [s.image for s in scenes])
    right = {name: heads.labels[name](features_ND).argmax(-1) == labels[name] for name in CLASSES}
    held = {name: labels[name] != CLASSES[name] - 1 for name in CLASSES}
    held["empty"] = ~held["digits"]
    right["empty"] = torch.stack(list(right.values())).all(0)
    return {name: (int(right[name][where].sum()), int(where.sum())) for name, where in held.items()}


def cell_labels(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """Class ids (B * 16,) by label name, cell by cell; `NONE` becomes the last class."""
    out = {}
    for name, n_classes in CLASSES.items():
        ids = torch.from_numpy(np.stack([getattr(s.cells, name) for s in scenes])).reshape(-1)
        out[name] = torch.where(ids == NONE, n_classes - 1, ids)
    return out


def cell_pixels(images: Sequence[Pixels]) -> Tensor:
    """Shrink each 16-pixel cell of images (64, 64, 3) to 8 x 8: (B * 16, 192), in [-1, 1]."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    small = functional.avg_pool2d(pixels, CELL // PIXELS)
    rows = small.shape[-1] // PIXELS
    cells = small.reshape(len(images), 3, rows, PIXELS, rows, PIXELS).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(-1, 3 * PIXELS * PIXELS)


def _scene_loss(
    backbone: Backbone,
    processor: Processor,
    heads: CellHeads,
    scenes: Sequence[Scene],
    plain: Sequence[Pixels],
    pixel_weight: float,
) -> Tensor:
    images = [*(s.image for s in scenes), *plain]
    features_ND = _features(backbone, processor, images)
    return heads.loss(features_ND, cell_labels(scenes), cell_pixels(images), pixel_weight)


def _features(
    backbone: Backbone,
    processor: Processor,
    images: Sequence[Pixels],
) -> Tensor:
    patches, grid = processor.encode_images([Image.fromarray(image) for image in images])
    return backbone.encode_images(patches, grid)[0]


def _plain_pool(phase: VisionPhase, seed: int) -> list[Pixels]:
    if not phase.plain_images or not phase.plain_tasks:
        return []
    source = Toy(phase.plain_tasks, "train", phase.plain_pool, seed)
    return [np.asarray(image) for record in source.records for image in source.images(record)]
