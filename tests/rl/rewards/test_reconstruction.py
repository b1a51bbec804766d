"""The reconstruction reward is 1 for the true region's tokens, wherever image and region stand."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.data.record import Box
from latentvr.errors import UserError
from latentvr.models.features import cache_features
from latentvr.rl.rewards.reconstruction import roi_reconstruction_reward


def true_tokens(chosen: Any, row: int) -> list[Tensor]:
    """What training would feed in the spans of a record: the tokens of each of its regions (n, D)."""
    record = chosen.records[row]
    made = []
    for box in record.bboxes:
        batch = chosen.lab.batch(chosen.model, [replace(record, bboxes=(box,))])
        made.append(chosen.model.features(batch)[0][batch["slots"][:, 1]])
    return made


def having(rollout: Any, spans: list[Tensor]) -> Any:
    """The rollout with other latents."""
    return replace(rollout, spans=spans, fed=torch.cat([rollout.fed[:0], *spans]))


class _Stretched:
    """Images of a source, each wider than the one before it."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def images(self, record: Any) -> list[Any]:
        return [image.resize((64 + 32 * i, 64)) for i, image in enumerate(self.source.images(record))]


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("name", ["one image", "two images", "three images", "interleaved"])
def test_true_latents_are_worth_one(make_in_spans: Any, lab: Any, name: str, hidden: bool) -> None:
    """Breaks when tokens of another image or place are taken, or of an image that is painted over."""
    chosen = make_in_spans(hide_region=hidden)
    chosen.lab = lab = copy.copy(lab)
    lab._toy = _Stretched(lab._toy)
    last = len(lab.records[name].images) - 1
    boxes = (Box(0, (0.1, 0.2, 0.45, 0.4)), Box(last, (0.5, 0.6, 0.9, 1.0)))
    chosen.records = [replace(lab.records[name], id="boxed", bboxes=boxes), lab.records["two images"]]
    chosen.samples = lab.encode(chosen.model, chosen.records, answer=False)
    rows, spans = chosen.write(), true_tokens(chosen, 0)
    rows[0] = having(rows[0], spans)
    found = chosen.reward(roi_reconstruction_reward, rows)
    assert found == [pytest.approx(1.0, abs=1e-5), 0.0]  # the second one has no latents
    rows[0] = having(rows[0], [-span for span in spans])
    assert chosen.reward(roi_reconstruction_reward, rows)[0] == pytest.approx(-1.0, abs=1e-5)
    rows[0] = having(rows[0], spans[:1])
    assert chosen.reward(roi_reconstruction_reward, rows)[0] < 0.9999


def test_it_is_a_cosine_of_means_over_all_spans(in_spans: Any) -> None:
    rows, random = in_spans.write(), torch.Generator().manual_seed(1)
    spans = [torch.randn(n, rows[0].fed.shape[1], generator=random) for n in (1, 3)]
    rows[0] = having(rows[0], spans)
    mean, target = torch.cat(spans).mean(0), torch.cat(true_tokens(in_spans, 0)).mean(0)
    expected = float(mean @ target / mean.norm() / target.norm())
    assert in_spans.reward(roi_reconstruction_reward, rows)[0] == pytest.approx(expected, abs=1e-5)


def test_an_opened_span_without_latents_is_worth_nothing(in_spans: Any) -> None:
    rows = in_spans.write()
    rows[0] = having(rows[0], [rows[0].fed[:0]])
    assert in_spans.reward(roi_reconstruction_reward, rows) == [0.0, 0.0]


def test_a_token_in_two_boxes_counts_once(in_spans: Any) -> None:
    whole, part = Box(0, (0.0, 0.0, 1.0, 1.0)), Box(0, (0.0, 0.0, 0.2, 0.2))
    rows = in_spans.write()
    values = []
    for boxes in ((whole,), (whole, part)):
        in_spans.records[0] = replace(in_spans.records[0], bboxes=boxes)
        values.append(in_spans.reward(roi_reconstruction_reward, rows)[0])
    assert values[0] == values[1]


def test_records_without_boxes_have_no_value(in_spans: Any) -> None:
    in_spans.records[0] = replace(in_spans.records[0], bboxes=())
    assert in_spans.reward(roi_reconstruction_reward, in_spans.write(2)) == [None, None, 0.0, 0.0]


@pytest.mark.parametrize("options", [{"latents": 4, "init_std": 1.0}, {"image_twice": True}], ids=str)
@pytest.mark.parametrize("cached", [False, True])
def test_latents_of_prompts_are_their_hidden_states(
    make_in_prompts: Any, make_in_spans: Any, options: dict[str, Any], cached: bool
) -> None:
    """The target is the same as for a method that is trained on it, on the same backbone."""
    chosen, targets = make_in_prompts(**options), make_in_spans()
    if cached:
        cache_features(chosen.model, chosen.samples)
    rows = chosen.write()
    expected = []
    for i, row in enumerate(rows):
        target = torch.cat(true_tokens(targets, i)).mean(0)
        expected.append(float(torch.cosine_similarity(row.prompt_latents.mean(0), target, 0)))
    assert chosen.reward(roi_reconstruction_reward, rows) == pytest.approx(expected, abs=1e-5)
    assert [s.features is not None for s in chosen.samples] == [cached, cached]


def test_a_box_of_an_image_that_is_not_there_is_refused(in_prompts: Any) -> None:
    in_prompts.records[0] = replace(in_prompts.records[0], bboxes=(Box(5, (0.0, 0.0, 1.0, 1.0)),))
    with pytest.raises(UserError, match="expected a box of an image of the prompt, got image 5, at record"):
        in_prompts.reward(roi_reconstruction_reward, in_prompts.write())


def test_a_method_without_latents_reconstructs_nothing(make_in_prompts: Any) -> None:
    plain = make_in_prompts("direct")
    with pytest.raises(UserError, match="expected a method with latents, got 'direct'"):
        plain.reward(roi_reconstruction_reward, plain.write())
