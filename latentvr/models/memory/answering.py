"""Memory of writing answers, and of scoring them again for an update."""

from __future__ import annotations

from dataclasses import dataclass, replace

from latentvr.models.memory.activations import vision_working
from latentvr.models.memory.batch import BatchShape
from latentvr.models.memory.held import Held, Trained
from latentvr.models.memory.moments import Moment
from latentvr.models.memory.shape import Shape
from latentvr.models.memory.training import StepSettings, step_moments
from latentvr.models.scoring import POSITIONS_AT_ONCE

#: Bytes per number of the scores while they are judged a part at a time: scores, log-probabilities,
#: probabilities and entropies in float32.
_JUDGED = 16


@dataclass(frozen=True)
class Answers:
    """Answers that are written together.

    Attributes:
        rows: answers.
        prompts: different prompts among them; each is read once.
        prompt: tokens of the longest prompt.
        new: tokens of the longest answer.
        patches: pixels' patches that are encoded at once; 0 where features are there.
        patch_values: numbers in a patch.
        whole: whether the cache has its full length from the start, one number format for keys and values.
    """

    rows: int
    prompts: int
    prompt: int
    new: int
    patches: int = 0
    patch_values: int = 0
    whole: bool = False


def writing(name: str, shape: Shape, trained: Trained, holds: Held, answers: Answers) -> Moment:
    """Memory while answers are written, after an optimiser step took the gradients.

    The cache holds keys and values, layers x 2 K numbers per token; with weights in float32 the keys are too,
    as rotary positions leave them. Beside it lie one layer's keys and values repeated for all heads, what a
    layer needs to read the prompts, and four copies of the last scores.

    Args:
        name: of the moment.
        shape: of the model.
        trained: what trains.
        holds: from `held`.
        answers: what is written.

    Returns:
        The moment.
    """
    text, precision = shape.text, trained.precision()
    a, stream = precision.activation, precision.stream
    tokens = answers.rows * (answers.prompt + answers.new)
    each = 2 * stream if answers.whole else stream + a
    reading = answers.prompts * answers.prompt * (2 * 4 * text.width + 3 * a * text.inner)
    turned = 2 * a * text.query * tokens
    copies = 2 * trained.linear(shape) if trained.half else 0
    copies += 2 * text.vocabulary * text.width if trained.half and precision.trains else 0
    per_patch = 4 * answers.patch_values + vision_working(shape.vision, trained.weight_bytes)
    return Moment(
        name,
        weights=holds.weights,
        optimizer=holds.optimizer,
        activations=max(reading, turned) + copies,
        logits=_JUDGED * answers.rows * text.vocabulary,
        vision=answers.patches * per_patch,
        cache=text.layers * each * text.key * tokens,
    )


def replay_moments(
    shape: Shape,
    trained: Trained,
    holds: Held,
    batch: BatchShape,
    settings: StepSettings,
) -> list[Moment]:
    """Moments of an update on answers: those of a training step, whose scores are judged a part at a time.

    Args:
        shape: of the model.
        trained: what trains.
        holds: from `held`.
        batch: prompts and answers of a micro-batch.
        settings: of the step.

    Returns:
        The moments, in their order.
    """
    moments = step_moments(shape, trained, holds, batch, settings)
    scores = _JUDGED * min(batch.labels, POSITIONS_AT_ONCE) * shape.text.vocabulary
    return [
        replace(moment, name=f"replay: {moment.name}", logits=max(moment.logits, scores))
        if moment.name.startswith("loss")
        else moment
        for moment in moments
    ]
