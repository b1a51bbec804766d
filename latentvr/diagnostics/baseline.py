"""The model as it is, with the identity control beside it, and what it records for the interventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from latentvr.attention.visibility import Visibility
from latentvr.data.collate import collate
from latentvr.decoding.rollout import Rollout
from latentvr.diagnostics.blank import Blank
from latentvr.diagnostics.figures import BASELINE
from latentvr.diagnostics.interventions import IDENTITY
from latentvr.diagnostics.reading import Reading, read
from latentvr.diagnostics.recorded import Latents
from latentvr.diagnostics.teacher import Completion, completed
from latentvr.diagnostics.ways import Part, Runner, Way
from latentvr.errors import LatentVRError
from latentvr.evaluation.evaluate import on_device
from latentvr.evaluation.prompts import Prompts
from latentvr.models.latent_model import LatentModel

#: Attention weights of one layer that are in memory at once: 512 MB in float32.
WEIGHTS = 1 << 27


@dataclass
class Baseline:
    """The model as it is.

    Attributes:
        way: its answers and rollouts.
        identity: the identity control.
        blank: the latents of blank images by place; empty where nobody asked.
        readings: attention and states by place; empty where nobody asked.
    """

    way: Way
    identity: Way
    blank: dict[int, Latents] = field(default_factory=dict)
    readings: dict[int, Reading] = field(default_factory=dict)

    @property
    def written(self) -> dict[int, Rollout]:
        """Rollouts by place."""
        return self.way.written

    @property
    def latents(self) -> dict[int, Latents]:
        """What the interventions change, by place."""
        return self.way.stood


def run_baseline(
    runner: Runner, prompts: Prompts, visibility: Visibility, *, blank: bool, readings: bool
) -> Baseline:
    """Answer all records, and once more with the latents fed back, batch by batch.

    Args:
        runner: of the model.
        prompts: of the source.
        visibility: at test.
        blank: also compute the latents of blank images.
        readings: also read attention and states.

    Returns:
        Answers, latents and readings.

    Raises:
        LatentVRError: the identity control does not give the baseline's bits.
    """
    way = Way(BASELINE, keep=True)
    made = Baseline(way, Way(IDENTITY, way.stood.__getitem__, own=way.written))
    blanks = Blank(runner.model, runner.decode)
    for part in runner.parts(prompts, visibility):
        written, turns = runner.step(part, way)
        again, _ = runner.step(part, made.identity)
        _require_same(written, again, made, part)
        if blank:
            seen = blanks.latents(part.samples, written, part.prefix.stage)
            made.blank.update(zip(part.places, seen, strict=True))
        if readings:
            made.readings.update(_readings(runner.model, part, turns, visibility))
    return made


def _readings(
    model: LatentModel, part: Part, turns: Sequence[Completion], visibility: Visibility
) -> dict[int, Reading]:
    """Read attention and states, as many rows at once as one layer's weights have room for."""
    columns = part.batch["input_ids"].shape[1] + max(len(turn.ids) for turn in turns)
    heads = int(model.backbone.text_config.num_attention_heads)
    size, pad = max(1, WEIGHTS // (heads * columns**2)), model.processor.tokenizer.pad_token_id
    out: dict[int, Reading] = {}
    for first in range(0, len(turns), size):
        rows = slice(first, first + size)
        prompts = on_device(collate(part.samples[rows], pad, "left"), model)
        boxes = [record.bboxes for record in part.records[rows]]
        found = read(model, completed(model, prompts, turns[rows]), visibility, boxes)
        out.update(zip(part.places[rows], found, strict=True))
    return out


def _require_same(written: Sequence[Rollout], again: Sequence[Rollout], made: Baseline, part: Part) -> None:
    """Refuse to go on where the identity control is not the baseline, bit for bit."""
    for i, one, other in zip(part.places, written, again, strict=True):
        same = (
            one.ids == other.ids
            and one.log_probs == other.log_probs
            and one.fed.equal(other.fed)
            and made.way.probabilities[i] == made.identity.probabilities[i]
        )
        if not same:
            raise LatentVRError(
                f"expected the identity control to give the baseline's bits, got others, at record "
                f"{made.way.predictions[i].id!r}; fix: report it, for no figure of an intervention could be "
                "trusted"
            )
