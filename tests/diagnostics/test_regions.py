"""What training feeds at the slots of answers, and boxes of the same size somewhere else.

Breaks when: slots of one record or region get those of another, an end vector counts as a latent, a moved box
leaves its image or changes its size, or a draw does not depend on the seed and the record's place alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentvr.attention.visibility import CAUSAL
from latentvr.data.record import Box
from latentvr.data.regions import region_rectangle
from latentvr.diagnostics.recorded import NotApplicable
from latentvr.diagnostics.regions import elsewhere, region_latents
from latentvr.evaluation.prompts import Prompts, encoder_for
from latentvr.reasoners.base import Stage

SMALL, LARGE = Box(0, (0.25, 0.5, 0.5, 0.75)), Box(0, (0.1, 0.0, 0.9, 0.6))
OPTIONS: list[dict[str, Any]] = [
    {},
    {"layout": "A", "end_vector": True},
    {"head": "glu", "pool": 3},
    {"target": "crop"},
    {"hide_region": True},
]


class Source:
    """Records of the lab with one region, two, and two on two images; the last has text between them."""

    def __init__(self, lab: Any) -> None:
        one, two = lab.records["one image"], lab.records["two images"]
        spoken = "here <lvr> and there <lvr> so it is <answer> A </answer>"
        self._lab = lab
        self.records = [
            replace(one, id="a", bboxes=(SMALL,)),
            replace(one, id="b", bboxes=(LARGE, SMALL)),
            replace(two, id="c", bboxes=(replace(LARGE, image=1), SMALL), response=spoken),
        ]

    def images(self, record: Any) -> list[Any]:
        images: list[Any] = self._lab.images(record)
        return images

    def where(self, record: Any) -> str:
        return str(record.id)


def _prompts(lab: Any, model: Any) -> Prompts:
    prompts = Prompts(model, Source(lab), encoder_for(model), keep=True)
    assert len(list(prompts.windows(8))) == 1  # used: features are kept
    return prompts


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_oracle_is_what_training_feeds(lab: Any, family: str, options: dict[str, Any]) -> None:
    """Record by record, encoded anew and alone, with its answer."""
    model = lab.model(family, "lvr", **options)
    prompts = _prompts(lab, model)
    records = prompts.source.records
    found = region_latents(model, prompts, records)
    slot_id = model.token_ids[model.reasoner.span().slot]
    for spans, record in zip(found, records, strict=True):
        batch = lab.collated([encoder_for(model).encode(record, prompts.source.images(record))])
        with torch.no_grad():
            fed = model.reasoner.slot_inputs(batch, model.features(batch), Stage("s", CAUSAL))
        ids = batch["input_ids"][0][model.slot_mask(batch)[0]]
        assert len(spans) == len(record.bboxes)
        torch.testing.assert_close(torch.cat(spans), fed[ids == slot_id], rtol=1e-5, atol=1e-5)
    if "pool" in options:
        assert [len(span) for spans in found for span in spans] == [3] * 5
    elif not options:
        assert [len(span) for spans in found for span in spans] == [1, 12, 1, 12, 1]


def test_without_regions_it_does_not_apply(lab: Any, family: str) -> None:
    model = lab.model(family, "lvr")
    prompts = _prompts(lab, model)
    records = [
        replace(record, bboxes=record.bboxes[:place]) for place, record in enumerate(prompts.source.records)
    ]
    with pytest.raises(NotApplicable, match="1 of 3 records"):
        region_latents(model, prompts, records)
    other = lab.model(family, "livr", latents=2)
    with pytest.raises(NotApplicable, match="feeds no embeddings"):
        region_latents(other, _prompts(lab, other), prompts.source.records)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_moved_boxes_have_as_many_slots(lab: Any, family: str, options: dict[str, Any]) -> None:
    """Regions are rounded outwards to visual tokens: a box that moves by half a token covers more."""
    model = lab.model(family, "lvr", **options)
    prompts = _prompts(lab, model)
    own = [[len(span) for span in spans] for spans in region_latents(model, prompts, prompts.source.records)]
    merge = model.processor.image_processor.merge_size
    seen = set()
    for seed in range(6):
        moved = [elsewhere(prompts, place, seed) for place in range(3)]
        assert moved == [elsewhere(prompts, place, seed) for place in range(3)]
        if options.get("target") != "crop":  # a part that is cut out has tokens of its own
            found = region_latents(model, prompts, moved)
            assert [[len(span) for span in spans] for spans in found] == own
        for place, (record, before) in enumerate(zip(moved, prompts.source.records, strict=True)):
            assert replace(record, bboxes=before.bboxes) == before
            for box, old in zip(record.bboxes, before.bboxes, strict=True):
                assert box.image == old.image
                assert 0 <= min(box.box) < max(box.box) <= 1
                grid = prompts.kept[place].grid[box.image]
                here, there = (region_rectangle(each.box, grid, merge) for each in (box, old))
                assert here != there
                assert [here[2] - here[0], here[3] - here[1]] == [there[2] - there[0], there[3] - there[1]]
                seen.add((box.image, here))
    assert len(seen) > 12


def test_a_box_as_large_as_its_image_stays(lab: Any) -> None:
    prompts = _prompts(lab, lab.model("tiny-qwen3-vl", "lvr"))
    prompts.source.records[0] = replace(prompts.source.records[0], bboxes=(Box(0, (0.0, 0.0, 1.0, 1.0)),))
    assert elsewhere(prompts, 0, 0) == prompts.source.records[0]
