"""Readings against the attentions and states that the stock decoder returns, one record at a time.

Breaks when: other latents are fed than were recorded, padding or another record's tokens count, a token
without a label asks, an average is taken over the wrong thing, or a box is laid on the wrong visual tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.data.record import Box
from latentvr.diagnostics.reading import layer_maps, read
from latentvr.errors import RecordError, UserError

RIGHT = (0.5, 0.0, 1.0, 1.0)


def tokens_inside(boxes: list[Box], rows: int, columns: int, image: int) -> list[bool]:
    """Which visual tokens of an image some box touches; a patch is half a token on each side."""
    out = []
    for y in range(2 * rows):
        for x in range(2 * columns):
            here = (x / (2 * columns), y / (2 * rows), (x + 1) / (2 * columns), (y + 1) / (2 * rows))
            touched = [
                box.image == image
                and box.box[0] < here[2]
                and box.box[2] > here[0]
                and box.box[1] < here[3]
                and box.box[3] > here[1]
                for box in boxes
            ]
            out.append(any(touched))
    patches = np.array(out).reshape(rows, 2, columns, 2)
    found: list[bool] = patches.any((1, 3)).reshape(-1).tolist()
    return found


def mean(values: Any) -> float:
    values = list(values)
    return float(sum(values) / len(values))


@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
def test_attention_is_that_of_the_stock_model(chosen: Any, visibility: Visibility) -> None:
    for row, reading in enumerate(chosen.read(visibility)):
        weights, _, _, roles, slots = chosen.stock(row, visibility)
        start = len(chosen.samples[row].ids)
        asking = [start + i for i, mine in enumerate(chosen.rollouts[row].sampled) if mine]
        of_slots = [mean(float(w[q, k]) for w in weights.flatten(0, 1) for q in asking) for k in slots]
        assert reading.slots_K.tolist() == pytest.approx(of_slots, abs=1e-6)
        assert reading.mass == float(reading.slots_K.sum())
        image = [i for i, role in enumerate(roles) if role is Role.IMAGE]
        if not slots or not image:
            assert (reading.to_image, reading.enrichment) == (None, None)
            continue
        seen = {k: mean(float(w[q, k]) for w in weights.flatten(0, 1) for q in slots) for k in image}
        assert reading.to_image == pytest.approx(sum(seen.values()), abs=1e-6)
        boxes, images = chosen.boxes(row)[0], len(image) // 16
        inside = [one for i in range(images) for one in tokens_inside(boxes, 4, 4, i)]
        if not any(inside):
            assert reading.enrichment is None
            continue
        share = sum(seen[k] for k, one in zip(image, inside, strict=True) if one) / sum(seen.values())
        assert reading.enrichment == pytest.approx(share * len(image) / sum(inside), abs=1e-5)


def test_states_are_those_of_the_stock_model(chosen: Any) -> None:
    for row, reading in enumerate(chosen.read()):
        _, middle, last, roles, slots = chosen.stock(row, CAUSAL)
        assert list(reading.states) == ["middle", "last"]
        for states, wanted in zip(reading.states.values(), (middle, last), strict=True):
            torch.testing.assert_close(states.latents_KD, wanted[slots], atol=1e-4, rtol=1e-4)
            prompt = torch.stack([s for s, role in zip(wanted, roles, strict=True) if role is Role.PROMPT])
            torch.testing.assert_close(states.prompt_D, prompt.mean(0), atol=1e-4, rtol=1e-4)
            image = [s for s, role in zip(wanted, roles, strict=True) if role is Role.IMAGE]
            if image:
                wanted_D = torch.stack(image).mean(0)
                assert states.image_D is not None
                torch.testing.assert_close(states.image_D, wanted_D, atol=1e-4, rtol=1e-4)
            else:
                assert states.image_D is None


def test_records_together_are_read_as_alone(chosen: Any) -> None:
    for row, together in enumerate(chosen.read()):
        alone = chosen.read(CAUSAL, row)[0]
        assert together.slots_K.tolist() == pytest.approx(alone.slots_K.tolist(), abs=1e-6)
        assert together.to_image == (
            None if alone.to_image is None else pytest.approx(alone.to_image, abs=1e-6)
        )
        assert together.enrichment == (
            None if alone.enrichment is None else pytest.approx(alone.enrichment, abs=1e-5)
        )
        for depth, states in together.states.items():
            torch.testing.assert_close(
                states.latents_KD, alone.states[depth].latents_KD, atol=1e-4, rtol=1e-4
            )
            torch.testing.assert_close(states.prompt_D, alone.states[depth].prompt_D, atol=1e-4, rtol=1e-4)


def test_each_record_has_its_own_slots(of_prompts: Any, of_spans: Any) -> None:
    assert [len(one.slots_K) for one in of_prompts().read()] == [4, 4, 4]
    assert [len(one.slots_K) for one in of_prompts(image_twice=True).read()] == [16, 48, 32]
    ended = of_spans(layout="A", end_vector=True).read()
    assert [len(one.slots_K) for one in ended] == [0, 4, 8, 3]
    spans = of_spans().read()
    assert [len(one.slots_K) for one in spans] == [0, 3, 6, 2]
    assert [one.mass > 0 for one in spans] == [False, True, True, True]


def uniform(chosen: Any) -> Any:
    """Queries of zero: attention is even over all that a token sees."""
    for layer in chosen.model.backbone.language_model.layers:
        for parameter in layer.self_attn.q_proj.parameters():
            parameter.data.zero_()
    return chosen


def test_even_attention_is_counted_to_the_token_and_prefers_no_box(chosen: Any) -> None:
    even = uniform(chosen)
    for row, reading in enumerate(even.read()):
        *_, roles, slots = even.stock(row, CAUSAL)
        start = len(even.samples[row].ids)
        asking = [start + i for i, mine in enumerate(even.rollouts[row].sampled) if mine]
        assert reading.mass == pytest.approx(
            mean(sum(k <= q for k in slots) / (q + 1) for q in asking), abs=1e-6
        )
        if reading.to_image is not None:
            image = [i for i, role in enumerate(roles) if role is Role.IMAGE]
            wanted = mean(sum(k < q for k in image) / (q + 1) for q in slots)
            assert reading.to_image == pytest.approx(wanted, abs=1e-6)
        if even.boxes(row)[0] and slots:
            assert reading.enrichment == pytest.approx(1, abs=1e-6)


def test_a_box_over_all_images_has_the_share_of_all(of_prompts: Any) -> None:
    chosen = of_prompts()
    whole = [[Box(i, (0.0, 0.0, 1.0, 1.0)) for i in range(len(record.images))] for record in chosen.records]
    readings = read(chosen.model, chosen.batch(), CAUSAL, whole)
    assert [reading.enrichment for reading in readings] == pytest.approx([1.0] * 3, abs=1e-9)


def test_boxes_of_wide_images_keep_rows_and_columns_apart(of_prompts: Any, lab: Any) -> None:
    chosen = of_prompts()
    wide = lab.images(chosen.records[0])[0].resize((96, 48))
    from latentvr.evaluation.prompts import encoder_for

    chosen.samples[0] = encoder_for(chosen.model).encode(chosen.records[0], [wide], with_answer=False)
    weights, _, _, roles, slots = chosen.stock(0, CAUSAL)
    image = [i for i, role in enumerate(roles) if role is Role.IMAGE]
    maps = weights.mean((0, 1))[slots][:, image].mean(0).reshape(3, 6)
    for box, inside in ((RIGHT, maps[:, 3:]), ((0.0, 0.0, 1.0, 0.3), maps[:1])):
        found = read(chosen.model, chosen.batch(0), CAUSAL, [[Box(0, box)]])[0].enrichment
        assert found == pytest.approx(float(inside.mean() / maps.mean()), abs=1e-5)


def test_latents_that_cannot_see_the_image_prefer_nothing(of_prompts: Any) -> None:
    blind = Visibility("blind", frozenset({(Role.LATENT, Role.IMAGE)}))
    for reading in of_prompts().read(blind):
        assert (reading.to_image, reading.enrichment) == (0.0, None)


def test_a_method_without_latents_has_states_of_prompt_and_image_alone(make_round: Any) -> None:
    for reading in make_round("direct", ["one image", "text"]).read():
        assert (reading.mass, reading.to_image, reading.enrichment) == (0.0, None, None)
        assert reading.slots_K.shape == (0,)
        assert reading.states["last"].latents_KD.shape[0] == 0
        assert bool(reading.states["last"].prompt_D.any())


def test_only_tokens_with_a_label_ask(of_spans: Any) -> None:
    chosen = of_spans()
    row = chosen.rollouts[1]
    late = replace(row, sampled=[False] * (len(row.ids) - 1) + [True])
    chosen.rollouts[1] = late
    weights, *_, slots = chosen.stock(1, CAUSAL)
    found = chosen.read(CAUSAL, 1)[0]
    assert found.slots_K.tolist() == pytest.approx(weights[:, :, -1, slots].mean((0, 1)).tolist(), abs=1e-6)


def test_maps_are_means_over_ranges_of_layers(chosen: Any) -> None:
    """Four layers make ranges of one, one and two."""
    maps = layer_maps(chosen.model, chosen.batch(), CAUSAL)
    assert len(maps) == len(chosen.names)
    for row, of_sample in enumerate(maps):
        weights, _, _, roles, slots = chosen.stock(row, CAUSAL)
        image = [i for i, role in enumerate(roles) if role is Role.IMAGE]
        assert len(of_sample) == 3
        for layers, of_range in zip(([0], [1], [2, 3]), of_sample, strict=True):
            wanted = weights[layers].mean((0, 1))[slots][:, image]
            assert all(one.shape == (len(slots), 4, 4) for one in of_range)
            assert len(of_range) == len(image) // 16
            joined = [one.reshape(len(slots), 16) for one in of_range]
            found = np.concatenate(joined, 1) if joined else np.zeros((len(slots), 0))
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


def test_more_ranges_than_layers_are_refused(of_prompts: Any) -> None:
    chosen = of_prompts()
    assert len(layer_maps(chosen.model, chosen.batch(0), CAUSAL, 4)[0]) == 4
    for ranges in (0, 5):
        with pytest.raises(UserError, match=f"from 1 to 4 ranges of layers, got {ranges}"):
            layer_maps(chosen.model, chosen.batch(0), CAUSAL, ranges)


def test_answers_without_labels_are_refused(of_prompts: Any) -> None:
    chosen = of_prompts()
    row = chosen.rollouts[1]
    chosen.rollouts[1] = replace(row, sampled=[False] * len(row.ids))
    with pytest.raises(
        UserError, match=f"expected answer tokens, got none, at sample '{chosen.records[1].id}'"
    ):
        chosen.read()


@pytest.mark.parametrize(("name", "images"), [("one image", 1), ("text", 0)])
def test_boxes_on_images_that_are_not_there_are_refused(name: str, images: int, make_round: Any) -> None:
    chosen = make_round("direct", [name])
    with pytest.raises(RecordError, match=f"{images} images, counted from 0, got one on image 1, at sample"):
        read(chosen.model, chosen.batch(), CAUSAL, [[Box(1, RIGHT)]])


def hooks(model: Any) -> list[int]:
    modules = list(model.modules())
    return [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules]


def test_the_model_is_as_before_and_after_an_error_too(of_spans: Any) -> None:
    chosen = of_spans()
    model = chosen.model.train()
    kernel, before = model.backbone.text_config._attn_implementation, hooks(model)
    chosen.read()
    wrong = {**chosen.batch(), "recorded": torch.zeros(1, model.backbone.width)}
    with pytest.raises(RuntimeError, match="elements"):
        read(model, wrong, CAUSAL, chosen.boxes())
    assert model.training
    assert model.backbone.text_config._attn_implementation == kernel
    assert hooks(model) == before
