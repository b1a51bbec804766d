"""Memory of one optimiser step of supervised training, moment by moment."""

from __future__ import annotations

from dataclasses import dataclass, replace

from latentvr.models.memory.activations import (
    Precision,
    attention,
    decoder_layer,
    vision_block,
    vision_working,
)
from latentvr.models.memory.batch import BatchShape
from latentvr.models.memory.held import Held, Trained
from latentvr.models.memory.moments import Moment
from latentvr.models.memory.shape import Shape
from latentvr.models.scoring import POSITIONS_AT_ONCE

#: Bytes per number of the scores while their loss is taken back: log-probabilities, the gradient that comes
#: in, and the one that goes out, in float32.
_SCORES = 12
#: The same while the loss is taken: scores and log-probabilities.
_SCORES_FORWARD = 8


@dataclass(frozen=True)
class StepSettings:
    """What else a step's memory depends on.

    Attributes:
        kernel: attention kernel.
        checkpointing: whether layers are computed anew in the backward pass.
        accumulates: whether gradients of earlier micro-batches lie beside the activations.
    """

    kernel: str
    checkpointing: bool
    accumulates: bool


def step_moments(
    shape: Shape, trained: Trained, holds: Held, batch: BatchShape, settings: StepSettings
) -> list[Moment]:
    """Moments of a step: images, loss, head, a layer of the backward pass, embedding, and the optimiser.

    With activation checkpointing a layer keeps its input alone, D numbers per token in the stream's format,
    and the backward pass has those of all layers and everything of the one that is computed anew.

    Args:
        shape: of the model.
        trained: what trains.
        holds: from `held`.
        batch: the micro-batch.
        settings: of the step.

    Returns:
        The moments, in their order.
    """
    gradients = holds.gradients if settings.accumulates else 0
    vision = _features(shape, trained, batch)
    base = Moment("", holds.weights, gradients, holds.optimizer, vision=vision)
    moments = [_images(shape, trained, batch, base)] if batch.patches and trained.kind != "all" else []
    moments += _backward(shape, trained, batch, settings, base)
    tables = (3 if shape.text.tied else 1) * _table(shape, trained)
    copies = 2 * shape.vision.linear if trained.kind == "all" and trained.half else 0
    left = tables + _tower(shape, trained, batch, settings) + (0 if settings.checkpointing else copies)
    moments.append(Moment("embedding's gradient", holds.weights, holds.gradients, holds.optimizer, left))
    moments.append(Moment("optimiser step", holds.weights, holds.gradients, holds.optimizer + holds.stepping))
    return moments


def _table(shape: Shape, trained: Trained) -> int:
    """The gradient of the embedding matrix where it trains, in float32.

    Where the head is the same matrix, its gradient waits for the embedding's, and their sum is a third.
    """
    return 4 * shape.text.vocabulary * shape.text.width if trained.precision().trains else 0


def _features(shape: Shape, trained: Trained, batch: BatchShape) -> int:
    """Pixels in float32, and features of all levels."""
    activation = 4 if trained.kind == "all" and not trained.half else trained.weight_bytes
    features = shape.vision.levels * batch.visual * shape.text.width * activation
    return 4 * batch.patches * batch.patch_values + features


def _images(shape: Shape, trained: Trained, batch: BatchShape, base: Moment) -> Moment:
    """A tower that does not train keeps nothing but what one block needs."""
    a = trained.weight_bytes
    working = batch.patches * (vision_working(shape.vision, a) + a * batch.patch_values)
    return replace(base, name="encoding of images", vision=base.vision + working)


def _backward(
    shape: Shape, trained: Trained, batch: BatchShape, settings: StepSettings, base: Moment
) -> list[Moment]:
    """The loss, and the backward pass of head and layers."""
    text, precision = shape.text, trained.precision()
    layer = decoder_layer(text, precision, trained.adapters) * batch.tokens
    layer += attention(text, precision, settings.kernel, batch.tokens, batch.rows, batch.narrow)
    inputs = precision.stream * text.width * batch.tokens
    ends = (4 + precision.activation + (4 if precision.trains else 0)) * text.width * batch.tokens
    copies = 2 * trained.linear(shape) if trained.half else 0
    head = text.vocabulary * text.width if precision.trains else 0
    head_copy = 2 * head if trained.half else 0
    tower = _tower(shape, trained, batch, settings)
    again, kept = layer, text.layers * layer
    if settings.checkpointing:
        kept = text.layers * inputs
    kept += ends + tower
    scores = min(batch.labels, POSITIONS_AT_ONCE) * text.vocabulary
    forward = replace(
        base, name="loss", activations=kept + copies + head_copy, logits=_SCORES_FORWARD * scores
    )
    if settings.checkpointing:  # copies of weights go with the forward pass, but for the head's
        copies_left, one = 0, 2 * trained.linear(shape) // text.layers if trained.half else 0
        whole = kept + again + one
    else:
        copies_left, whole = copies, kept + copies
    # Positions beyond those that are scored at once come part by part; the head's gradient is their sum.
    summed = (head_copy or 4 * head) if batch.labels > POSITIONS_AT_ONCE else 0
    activations = kept + copies_left + head_copy + summed
    loss = replace(base, name="loss's gradient", activations=activations, logits=_SCORES * scores)
    turned = head * (6 if trained.half else 4)  # the head's gradient, in half precision and in float32
    of_head = replace(
        base, name="head's gradient", activations=kept + copies_left + turned, logits=2 * scores
    )
    whole += _working(shape, trained, batch) + (_table(shape, trained) if text.tied else 0)
    of_layer = replace(base, name="a layer's gradient", activations=whole)
    return [forward, loss, of_head, of_layer]


def _working(shape: Shape, trained: Trained, batch: BatchShape) -> int:
    """What a layer's backward pass holds for a moment.

    The gradients of the MLP's inner states, 3 a I per token, or those of the widest adapter; and that of the
    widest matrix where it trains, in half precision and in float32.
    """
    text, precision = shape.text, trained.precision()
    if precision.trains:
        widest = text.width * text.inner
        return batch.tokens * 3 * precision.activation * text.inner + widest * (6 if trained.half else 4)
    if trained.adapters is not None:
        return batch.tokens * trained.adapters.working(text, precision)
    return batch.tokens * 3 * precision.activation * text.inner


def _tower(shape: Shape, trained: Trained, batch: BatchShape, settings: StepSettings) -> int:
    """What a tower that trains keeps, with checkpointing the inputs of its blocks."""
    if trained.kind != "all" or not batch.patches:
        return 0
    vision, precision = shape.vision, Precision(trained.half, True, trained.device)
    if settings.checkpointing:
        return batch.patches * vision.layers * 4 * vision.width
    return batch.patches * vision.layers * vision_block(vision, precision)
