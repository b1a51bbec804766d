"""Rounds of rollouts of tiny models, as rewards get them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import DecodeConfig, RLConfig
from latentvr.data.record import Record
from latentvr.decoding.loop import generate
from latentvr.decoding.rollout import Rollout
from latentvr.reasoners.base import Stage


@dataclass
class Source:
    """Records with changed answers, and the lab's images of them."""

    lab: Any
    records: Sequence[Record]

    def images(self, record: Record) -> list[Any]:
        images: list[Any] = self.lab.images(record)
        return images

    def where(self, record: Record) -> str:
        return record.id


@dataclass
class Round:
    """A model and its prompts; `write` lets it answer."""

    lab: Any
    model: Any
    records: list[Record]
    samples: list[Any]
    rl: dict[str, Any] = field(default_factory=dict)
    decode: DecodeConfig = field(default_factory=lambda: DecodeConfig(max_new_tokens=10, latent_steps=3))
    stage: Stage = field(default_factory=lambda: Stage("rollout", CAUSAL))

    def write(self, group: int = 1, **options: Any) -> list[Rollout]:
        """Greedy answers, `group` of each prompt."""
        return generate(
            self.model, self.lab.collated(self.samples), self.stage, self.decode, rollouts=group, **options
        )

    def context(self, rollouts: Sequence[Rollout], **rl: Any) -> Any:
        """What the rewards get for these rollouts, groups side by side."""
        from latentvr.rl.rewards.context import RewardContext

        group = len(rollouts) // len(self.records)
        return RewardContext(
            self.model,
            [record for record in self.records for _ in range(group)],
            [sample for sample in self.samples for _ in range(group)],
            list(rollouts),
            Source(self.lab, self.records),
            self.stage,
            self.decode,
            RLConfig(**{"num_generations": max(2, group), **self.rl, **rl}),
        )

    def reward(self, function: Any, rollouts: Sequence[Rollout], **rl: Any) -> list[float | None]:
        """Call a reward as it is called in training."""
        context = self.context(rollouts, **rl)
        texts = [self.text(rollout) for rollout in rollouts]
        found: list[float | None] = function(
            prompts=[[{"role": "user", "content": record.prompt}] for record in context.records],
            completions=[[{"role": "assistant", "content": text}] for text in texts],
            context=context,
        )
        return found

    def text(self, rollout: Rollout) -> str:
        """What a reader sees of an answer."""
        return str(self.model.processor.tokenizer.decode(rollout.ids, skip_special_tokens=True))


@pytest.fixture
def in_spans(lab: Any, family: str) -> Round:
    """A model that opens a latent span at once in its answer to the first prompt, and in no other place."""
    return _in_spans(lab, family)


@pytest.fixture
def make_in_prompts(lab: Any, family: str) -> Any:
    """Makes a model with latents in its prompts, with options of the method."""

    def make(name: str = "livr", **options: Any) -> Round:
        model = lab.model(family, name, **options)
        _write_words(model)
        records = [lab.records["one image"], lab.records["two images"]]
        return Round(lab, model, records, lab.encode(model, records, answer=False))

    return make


@pytest.fixture
def in_prompts(make_in_prompts: Any) -> Round:
    """A model with four latents in its prompts."""
    made: Round = make_in_prompts(latents=4, init_std=1.0)
    return made


def _in_spans(lab: Any, family: str, stage: Stage | None = None, **options: Any) -> Round:
    model = lab.model(family, "lvr", untied=True, **options)
    records = [lab.records["one image"], lab.records["two images"]]
    out = Round(lab, model, records, lab.encode(model, records, answer=False))
    out.stage = stage or out.stage
    _write_words(model)
    with torch.no_grad():
        model.rows.head_rows.zero_()
        _steer(out)
    return out


def _steer(chosen: Round) -> None:
    """Give the start marker's row of the head a high logit where the first answer begins, and low ones else.

    Both with latents and without, so that no second span is opened in either case.
    """
    model, states, logits = chosen.model, [], []
    start = model.token_ids[model.reasoner.span().start]
    written = model.rows.get_buffer("ids")[model.rows.get_buffer("written")].tolist()
    nothing = [[torch.zeros(0, model.backbone.width)]] * 2
    for _ in range(20):
        found = []
        for feed in (None, nothing):
            seen: list[torch.Tensor] = []
            rows = chosen.write(watch=lambda *args, seen=seen: seen.append(args[1].clone()), feed=feed)
            places = [(i, t) for i, row in enumerate(rows) for t, one in enumerate(row.ids) if one == start]
            wrong = {(0, 0), (1, 0), *places}
            states += [seen[t][i] for i, t in sorted(wrong)]
            logits += [60.0 if place == (0, 0) else -60.0 for place in sorted(wrong)]
            found.append(places)
        if found == [[(0, 0)]] * 2:
            return
        row = torch.linalg.pinv(torch.stack(states).double(), rtol=1e-4) @ torch.tensor(logits).double()
        model.rows.head_rows[written.index(start)] = row.float()
    raise AssertionError(f"expected one span, got {found}")


def _write_words(model: Any) -> None:
    """Have a model write nothing but words and markers, so that its answers can be read as answers."""
    tokenizer = model.processor.tokenizer
    kept = {*model.end_ids, *model.token_ids.values()} - set(model.get_buffer("excluded").tolist())
    width = model.backbone.embedding_weight.shape[0]
    other = [i for i in range(width) if i not in kept and not tokenizer.decode([i]).strip().isalpha()]
    model.excluded = torch.tensor(sorted({*other, *model.get_buffer("excluded").tolist()}))


@pytest.fixture
def make_in_spans(lab: Any, family: str) -> Any:
    """The same with options of the method, and under another visibility."""
    return lambda **options: _in_spans(lab, family, **options)
