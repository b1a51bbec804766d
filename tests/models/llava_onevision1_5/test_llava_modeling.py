"""The whole model through transformers' own calls: padding, caches, loss, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, pad

from latentvr.errors import ModelError
from latentvr.models.llava_onevision1_5.repeated_images import repeated_images


@torch.no_grad()
def test_padding_on_the_left_changes_no_logit(pictures: Any) -> None:
    # Breaks if positions count the padding, as those of the released code do.
    model, long, short = pictures.model, pictures.prompt([0, 1]), pictures.prompt([2])
    ids = torch.zeros(2, long.shape[1], dtype=torch.long)
    ids[0], ids[1, -short.shape[1] :] = long[0], short[0]
    mask = torch.ones_like(ids)
    mask[1, : -short.shape[1]] = 0
    patches = pictures.patches([0, 1, 2])
    both = model(input_ids=ids, attention_mask=mask, **patches).logits
    alone = [model(input_ids=long, **pictures.patches([0, 1])).logits[0],
             model(input_ids=short, **pictures.patches([2])).logits[0]]  # fmt: skip
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    explicit = model(input_ids=ids, attention_mask=mask, position_ids=positions, **patches).logits
    assert torch.equal(explicit, both)
    for row, wanted in zip(both, alone, strict=True):
        assert torch.allclose(row[-len(wanted) :], wanted, atol=1e-4)
    wrong = model(
        input_ids=ids, attention_mask=mask, position_ids=torch.arange(ids.shape[1])[None] // 3, **patches
    )
    assert not torch.allclose(wrong.logits, both, atol=1e-2)


@torch.no_grad()
def test_stock_generate_writes_what_one_forward_pass_finds(pictures: Any) -> None:
    # Breaks if a cached step counts positions anew or encodes the images again.
    model, ids, patches = pictures.model, pictures.prompt([1, 2]), pictures.patches([1, 2])
    written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **patches, do_sample=False,
                             max_new_tokens=6, min_new_tokens=6)  # fmt: skip
    logits = model(input_ids=written[:, :-1], **patches).logits[0, ids.shape[1] - 1 :]
    logits[:, model.generation_config.eos_token_id] = float("-inf")
    assert written[0, ids.shape[1] :].tolist() == logits.argmax(-1).tolist()


@torch.no_grad()
@pytest.mark.parametrize(
    "settings",
    [{"do_sample": True, "top_k": 1}, {"do_sample": False, "num_beams": 2}],
    ids=["sampled", "beams"],
)
def test_several_answers_to_each_prompt_see_its_own_images(pictures: Any, settings: dict[str, Any]) -> None:
    # Breaks if patches are repeated one by one, so that answers see patches of several images.
    model, prompts = pictures.model, [pictures.prompt([0, 1]), pictures.prompt([2])]
    longest = max(prompt.shape[1] for prompt in prompts)
    ids = torch.cat([pad(prompt, (longest - prompt.shape[1], 0)) for prompt in prompts])
    settings = {**settings, "num_return_sequences": 2, "max_new_tokens": 5, "min_new_tokens": 5,
                "attention_mask": (ids > 0).long()}  # fmt: skip
    patches = pictures.patches([0, 1, 2])
    words = model.get_input_embeddings()(ids)
    inside = model.model._with_images(words, ids, *patches.values())
    wanted = model.generate(inputs_embeds=inside, **settings)
    assert not torch.equal(wanted, model.generate(inputs_embeds=words, **settings))
    assert torch.equal(model.generate(input_ids=ids, **patches, **settings)[:, longest:], wanted)


def test_repeated_images_are_whole_and_in_order() -> None:
    # Breaks if a prompt without images, or one with several, takes those of its neighbours.
    grid = torch.tensor([[1, 2, 2], [1, 2, 4], [1, 4, 2]])
    values = torch.arange(20).unsqueeze(1)
    patches, grids = repeated_images(values, grid, torch.tensor([3, 0, 2]), 2, 2)
    first, second = list(range(12)), list(range(12, 20))
    assert patches.flatten().tolist() == first + first + second + second
    assert grids.tolist() == grid[[0, 1, 0, 1, 2, 2]].tolist()
    with pytest.raises(ModelError, match=r"whole images, 5 together, got \[2, 3\]"):
        repeated_images(values, grid, torch.tensor([2, 3]), 2, 2)


def test_a_loss_is_that_of_the_next_tokens(pictures: Any) -> None:
    model, ids, patches = pictures.model, pictures.prompt([2]), pictures.patches([2])
    labels = ids.masked_fill(ids == model.config.image_token_id, -100)
    out = model(input_ids=ids, labels=labels, **patches)
    assert torch.allclose(out.loss, cross_entropy(out.logits[0, :-1], labels[0, 1:]), atol=1e-6)
    last = model(input_ids=ids, logits_to_keep=2, **patches).logits
    assert torch.allclose(last, out.logits[:, -2:], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_grid_thw": None}, "expected image_grid_thw with pixel_values"),
        ({"input_ids": torch.tensor([[20, 21]])}, "expected 8 image placeholders, got 0"),
        ({"pixel_values_videos": torch.zeros(8, 4)}, "expected images, got pixel_values_videos, at "),
    ],
)
def test_images_that_do_not_fit_are_refused(pictures: Any, changes: dict[str, Any], message: str) -> None:
    # Breaks if features without a place are dropped in silence.
    inputs = {"input_ids": pictures.prompt([2]), **pictures.patches([2]), **changes}
    with pytest.raises(ModelError, match=message):
        pictures.model(**inputs)
