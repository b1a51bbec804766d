"""Answers and the probability of the right ones, under conditions that share the beginnings of prompts.

Every condition is decoded in the same batches, in the same order and from the same cache: rounding cannot
tell one from the other, and a condition that changes nothing gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from latentvr.attention.visibility import Visibility
from latentvr.config.schema import DecodeConfig
from latentvr.data.collate import collate
from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.record import Record
from latentvr.decoding.loop import generate
from latentvr.decoding.rollout import Rollout
from latentvr.diagnostics.outcome import Outcome
from latentvr.diagnostics.recorded import Given, Latents
from latentvr.diagnostics.teacher import (
    Completion,
    Ending,
    completed,
    completion,
    probabilities,
    with_span,
)
from latentvr.errors import LatentVRError
from latentvr.evaluation.evaluate import on_device
from latentvr.evaluation.metrics import Prediction, judge
from latentvr.evaluation.prompts import Prompts
from latentvr.models.latent_model import LatentModel
from latentvr.models.prefix import Prefix, begin, grow
from latentvr.reasoners.base import Stage


@dataclass
class Way:
    """One condition with one seed: what is done, and what comes of it.

    Attributes:
        name: of the condition.
        latents: what takes the place of the model's own; None leaves them.
        spans: False keeps the model from opening latent spans.
        predictions: by place.
        probabilities: of the right answer, by place.
        latent_steps: hidden states that were fed, by place.
        written: rollouts by place, on the CPU, where they are kept.
        stood: what stood at the latent slots, by place, where it is kept.
        keep: keep rollouts and latents.
        own: the baseline's rollouts by place, whose text and spans stand before the right answer; None takes
            the condition's own.
    """

    name: str
    latents: Given | None = None
    spans: bool = True
    keep: bool = False
    own: Mapping[int, Rollout] | None = None
    predictions: dict[int, Prediction] = field(default_factory=dict)
    probabilities: dict[int, float] = field(default_factory=dict)
    latent_steps: dict[int, int] = field(default_factory=dict)
    written: dict[int, Rollout] = field(default_factory=dict)
    stood: dict[int, Latents] = field(default_factory=dict)

    def outcome(self) -> Outcome:
        """What came of it, in the order of the source."""
        places = sorted(self.predictions)
        return Outcome(
            tuple(replace(self.predictions[i], latent_steps=self.latent_steps[i]) for i in places),
            tuple(self.probabilities[i] for i in places),
        )


@dataclass(frozen=True)
class Part:
    """A batch of prompts with the cache of their beginnings.

    Attributes:
        places: of the records in their source.
        records: themselves.
        samples: the prompts.
        batch: the prompts, padded on the left.
        prefix: their beginnings.
    """

    places: list[int]
    records: list[Record]
    samples: list[EncodedSample]
    batch: dict[str, Any]
    prefix: Prefix


class Runner:
    """Runs conditions over prompts.

    Args:
        model: in evaluation mode.
        encoder: of whole samples; says how a turn with the right answer ends.
        decode: greedy; room for text is that of the model's own latents, however many are given.
        batch_size: prompts per forward pass.
    """

    def __init__(self, model: LatentModel, encoder: Encoder, decode: DecodeConfig, batch_size: int) -> None:
        self.model = model
        self.encoder = encoder
        self.decode = decode
        self.batch_size = batch_size
        self._endings: dict[int, Ending] = {}
        self._judged: dict[tuple[int, str], Prediction] = {}

    def parts(self, prompts: Prompts, visibility: Visibility) -> Iterator[Part]:
        """All prompts in batches of similar length, each with its beginnings computed."""
        pad = self.model.processor.tokenizer.pad_token_id
        for window in prompts.windows(self.batch_size):
            window.sort(key=lambda entry: len(entry[1].ids))
            for start in range(0, len(window), self.batch_size):
                places, samples = map(list, zip(*window[start : start + self.batch_size], strict=True))
                records = [prompts.source.records[i] for i in places]
                batch = on_device(collate(samples, pad, "left"), self.model)
                beginning = begin(self.model, batch, Stage("test", visibility))
                yield Part(places, records, samples, batch, beginning)

    def run(self, prompts: Prompts, visibility: Visibility, ways: Sequence[Way]) -> None:
        """Run conditions that share their prompts and their visibility; what comes of it is put into them."""
        for part in self.parts(prompts, visibility):
            for way in ways:
                self.step(part, way)

    def step(self, part: Part, way: Way) -> tuple[list[Rollout], list[Completion]]:
        """Run one condition on one batch.

        Args:
            part: the batch.
            way: the condition; what comes of it is put into it.

        Returns:
            What was written, and the turns with the right answers.

        Raises:
            LatentVRError: something else than the given latents stood at the latent slots.
        """
        model = self.model
        given = None if way.latents is None else [way.latents(i) for i in part.places]
        before = None if way.own is None else [way.own[i] for i in part.places]
        in_prompts, in_spans = (given, None) if model.reasoner.span() is None else (None, given)
        prefix = grow(model, part.prefix, _stacked(in_prompts))
        room = self._room(part, way, in_spans, before)
        decode = replace(self.decode, max_new_tokens=max(room))
        written = generate(
            model, part.batch, prefix.stage, decode, feed=in_spans, open_spans=way.spans, prefix=prefix
        )
        stood = latents_of(prefix, written)
        if given is not None:
            _require_fed(stood, given, way.name)
        texts = written if before is None else before
        turns = self._turns(part, way, texts, in_spans)
        never = () if way.spans else sorted(_markers(model))
        right = probabilities(model, prefix, completed(model, part.batch, turns), never)
        self._write_down(part, way, [row.ids[:n] for row, n in zip(written, room, strict=True)], right)
        for i, row, latents in zip(part.places, written, stood, strict=True):
            way.latent_steps[i] = len(row.fed)
            if way.keep:
                way.written[i], way.stood[i] = row.cpu(), [own.cpu() for own in latents]
        return written, turns

    def _turns(
        self, part: Part, way: Way, texts: Sequence[Rollout], in_spans: Sequence[Latents] | None
    ) -> list[Completion]:
        """The turns with the right answers."""
        for i, record in zip(part.places, part.records, strict=True):
            if i not in self._endings:
                self._endings[i] = self.encoder.ending(with_span(self.model, record))
        latents: Sequence[Latents | None] = [None] * len(texts) if in_spans is None else in_spans
        return [
            completion(self.model, text, self._endings[i], own, way.spans)
            for i, text, own in zip(part.places, texts, latents, strict=True)
        ]

    def _write_down(self, part: Part, way: Way, ids: list[list[int]], right: list[float]) -> None:
        """Judge the answers of a condition."""
        texts = self.model.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        for i, record, text, probability in zip(part.places, part.records, texts, right, strict=True):
            if (i, text) not in self._judged:
                self._judged[i, text] = judge(record, text)
            way.predictions[i] = self._judged[i, text]
            way.probabilities[i] = probability

    def _room(
        self, part: Part, way: Way, given: Sequence[Latents] | None, before: Sequence[Rollout] | None
    ) -> list[int]:
        """Longest answer of each row, slots included: as much text as with the model's own latents.

        Spans beyond those that a record has regions for are the model's choice, and do not count.
        """
        longest, span = self.decode.max_new_tokens, self.model.reasoner.span()
        if before is None or span is None or (given is None and way.spans):
            return [longest] * len(part.places)
        rooms = []
        for at, (record, row) in enumerate(zip(part.records, before, strict=True)):
            own = row.spans[: max(1, len(record.bboxes))]
            more = -sum(map(len, own))
            if given is None:
                more -= len(own) * (1 + len(span.end))
            elif given[at]:
                more += sum(len(given[at][min(i, len(given[at]) - 1)]) for i in range(len(own)))
            else:
                more = 0
            rooms.append(max(1, longest + more))
        return rooms


def latents_of(prefix: Prefix, written: Sequence[Rollout]) -> list[Latents]:
    """What stood at the latent slots: of the prompts, or of the spans of the answers."""
    if prefix.inputs is None:
        return [row.spans for row in written]
    return [[inputs] if inputs.shape[1] else [] for inputs in prefix.inputs]


def _stacked(given: Sequence[Latents] | None) -> Tensor | None:
    """What is given for the slots of all prompts (L, R, D), in row-major order."""
    parts = [latents for row in given or () for latents in row]
    return torch.cat(parts, 1) if parts else None


def _markers(model: LatentModel) -> set[int]:
    """Ids of the markers of latent spans."""
    span = model.reasoner.span()
    return set() if span is None else {model.token_ids[text] for text in (span.start, *span.end)}


def _require_fed(stood: Sequence[Latents], given: Sequence[Latents], name: str) -> None:
    """Make sure that what was given stood at the slots: a path that ignores it would look harmless."""
    for found, wanted in zip(stood, given, strict=True):
        if not wanted:
            continue
        for number, latents in enumerate(found):
            own = wanted[min(number, len(wanted) - 1)]
            if not torch.equal(latents, own[..., : latents.shape[-2], :].to(latents)):
                raise LatentVRError(
                    f"expected the given latents at the latent slots, got others, under {name!r}; "
                    "fix: the method's `latent_step` or the decoder does not feed what it is given: report it"
                )
