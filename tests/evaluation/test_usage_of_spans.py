"""What takes the place of latents in answers, and that a condition does to answers what its name says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.config.schema import DataConfig, DecodeConfig, EvalConfig, Recipe
from latentvr.data.toy import Toy
from latentvr.decoding.rollout import Rollout
from latentvr.evaluation import usage
from latentvr.evaluation.prompts import encoder_for
from latentvr.evaluation.replacements import anothers, nothing, true_latents, zeros
from latentvr.reasoners.base import Stage

WIDTH = 4


def _rollout(*spans: torch.Tensor) -> Rollout:
    fed = torch.cat(spans) if spans else torch.zeros(0, WIDTH)
    return Rollout([], [], [], [], fed, list(spans), torch.zeros(0, WIDTH), "end")


class _Source:
    """Records of a toy task with answers as given."""

    def __init__(self, answers: str) -> None:
        self._toy = Toy(["counting"], "test", len(answers), 3)
        pairs = zip(self._toy.records, answers, strict=True)
        self.records = tuple(replace(record, answer=answer) for record, answer in pairs)

    def images(self, record: Any) -> list[Any]:
        return self._toy.images(record)

    def where(self, record: Any) -> str:
        return self._toy.where(record)


def test_zeros_and_nothing_hold_where_no_span_was_opened_too() -> None:
    """A row that opens its first span under a condition must not get its own latents."""
    written = {0: _rollout(torch.ones(2, WIDTH), torch.ones(1, WIDTH)), 1: _rollout()}
    assert [list(span.shape) for span in zeros(written, 3, WIDTH)(0)] == [[2, WIDTH], [1, WIDTH]]
    assert [list(span.shape) for span in zeros(written, 3, WIDTH)(1)] == [[3, WIDTH]]
    assert not any(span.any() for place in written for span in zeros(written, 3, WIDTH)(place))
    assert [list(span.shape) for span in nothing(WIDTH)(1)] == [[0, WIDTH]]


def test_anothers_latents_are_those_of_the_next_other_answer() -> None:
    spans = [torch.full((1, WIDTH), float(i)) for i in range(4)]
    written = {0: _rollout(spans[0]), 1: _rollout(spans[1]), 2: _rollout(), 3: _rollout(spans[3])}
    feed = anothers(written, _Source("2235"))
    assert feed is not None
    assert [float(feed(place)[0][0, 0]) for place in range(4)] == [3.0, 3.0, 3.0, 0.0]
    assert anothers(written, _Source("2222")) is None
    assert anothers(dict.fromkeys(range(4), _rollout()), _Source("2235")) is None


def test_true_latents_are_the_embeddings_of_the_regions(lab: Any, family: str) -> None:
    source = Toy(["correspondence", "counting"], "test", 2, 3)
    model = lab.model(family, "lvr", layout="A", end_vector=True)
    feed = true_latents(model, source, 8192)
    assert feed is not None
    for place, record in enumerate(source.records):
        batch = lab.collated([encoder_for(model).encode(record, source.images(record))])
        features = model.features(batch)[0]
        wanted = features[batch["slots"][:, 1]]
        assert len(feed(place)) == len(record.bboxes)
        torch.testing.assert_close(torch.cat(feed(place)), wanted, rtol=1e-4, atol=1e-4)
    boxless = _Source("23")
    boxless.records = tuple(replace(record, bboxes=()) for record in boxless.records)
    assert true_latents(model, boxless, 8192) is None


def _states(lab: Any, model: Any, source: Any) -> torch.Tensor:
    """Hidden states (records, D) where each prompt ends, free of the image or not."""
    samples = [encoder_for(model).encode(r, source.images(r), with_answer=False) for r in source.records]
    batch = lab.collated(samples)
    out = []
    for visibility in (CAUSAL, BOTTLENECK):
        hidden = model.hidden(batch, model.features(batch), Stage("s", visibility))
        out.append(hidden[:, -1])
    return torch.cat(out)


@pytest.mark.parametrize("steps", [1, 3])
def test_each_condition_feeds_what_it_says(lab: Any, family: str, steps: int) -> None:
    """The head is made to open a span at once: what was fed is in the rollouts."""
    model = lab.model(family, "lvr", untied=True)
    written = model.rows.get_buffer("ids")[model.rows.get_buffer("written")].tolist()
    source = Toy(["counting"], "test", 6, 3)
    recipe = Recipe(
        data=DataConfig(feature_cache="memory"),
        decode=DecodeConfig(max_new_tokens=steps + 3, latent_steps=steps),  # room for one span
        eval=EvalConfig(batch_size=4),
    )
    start = written.index(model.token_ids[model.reasoner.span().start])
    with torch.no_grad():
        model.rows.head_rows.zero_()
        states = _states(lab, model, source)
        model.rows.head_rows[start] = (torch.linalg.pinv(states) @ torch.full((12,), 60.0)).float()
    made = usage.check_usage(model, source, recipe)
    assert list(made) == [condition.name for condition in usage.SPAN_CONDITIONS]
    counts = {name: [p.latent_steps for p in rows or ()] for name, rows in made.items()}
    assert counts[usage.AS_TRAINED] == [steps] * 6
    assert counts["latents dropped"] == counts["bottleneck, latents dropped"] == [0] * 6
    assert counts["latents: zeros"] == counts["latents: another's"] == [steps] * 6
    assert all(n >= 1 for n in counts["latents: true region"])
