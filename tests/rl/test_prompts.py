"""Which prompts come, and that they hold no answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.config.load import load
from latentvr.config.schema import Recipe
from latentvr.data.encode import IGNORED
from latentvr.models.latent_model import LatentModel
from latentvr.rl.prompts import PromptOrder, RoundPrompts
from latentvr.runs.rl import build_prompts
from latentvr.runs.sft import build_model
from latentvr.runs.sources import open_training

SETTINGS = [
    "reasoner.name=livr", "reasoner.latents=3", "model.path=tiny-qwen2.5-vl", "model.dtype=float32",
    "data.source=toy", "data.tasks=[counting_class]", "data.toy.train=5", "train.device=cpu",
    "optim.trainable=language",
]  # fmt: skip


def test_each_pass_has_every_prompt_once_in_its_own_order() -> None:
    order = PromptOrder(10, 42)
    passes = [[order[10 * number + i] for i in range(10)] for number in range(3)]
    assert [sorted(found) for found in passes] == [list(range(10))] * 3
    assert len({tuple(found) for found in passes}) == 3


def test_the_order_is_a_function_of_seed_and_position_alone() -> None:
    """A resumed run and another process begin anywhere."""
    whole = [PromptOrder(7, 1)[i] for i in range(28)]
    order = PromptOrder(7, 1)
    assert [order[i] for i in reversed(range(28))] == whole[::-1]
    assert [PromptOrder(7, 1)[i] for i in range(20, 28)] == whole[20:]
    assert [PromptOrder(7, 2)[i] for i in range(28)] != whole


def test_one_prompt_comes_again_and_again() -> None:
    assert [PromptOrder(1, 0)[i] for i in range(4)] == [0] * 4


@pytest.fixture(scope="module")
def made() -> tuple[LatentModel, Recipe]:
    recipe = load(None, SETTINGS).recipe
    return build_model(recipe), recipe


def prompts_of(made: tuple[LatentModel, Recipe], keep: bool) -> RoundPrompts:
    model, recipe = made
    for parameter in model.backbone.vision_tower.parameters():
        parameter.requires_grad_(False)
    whole = build_prompts(model, open_training(recipe.data), recipe)
    return RoundPrompts(model, whole.source, whole.encoder, keep)


def test_prompts_are_encoded_without_their_answers(made: Any) -> None:
    prompts = prompts_of(made, keep=False)
    tokenizer = made[0].processor.tokenizer
    for sample, record in zip(prompts.samples(range(5)), prompts.records(range(5)), strict=True):
        assert bool(torch.eq(sample.labels, IGNORED).all())
        text = tokenizer.decode(sample.ids)
        assert text.endswith(
            f"<|vision_end|>{record.prompt}<|latent_0|><|latent_1|><|latent_2|><|im_end|>\n"
            "<|im_start|>assistant\n"
        )


@pytest.mark.parametrize("keep", [False, True])
def test_places_give_their_own_prompts_and_equal_places_one_object(keep: bool, made: Any) -> None:
    prompts = prompts_of(made, keep)
    first = prompts.samples([4, 1, 4])
    assert first[0] is first[2]
    assert first[0] is not first[1]
    texts = [made[0].processor.tokenizer.decode(sample.ids) for sample in first]
    assert all(r.prompt in text for r, text in zip(prompts.records([4, 1, 4]), texts, strict=True))
    assert texts[0] != texts[1]
    again = prompts.samples([1, 4])
    assert (again[0] is first[1]) == keep
    assert torch.equal(again[0].ids, first[1].ids)
    assert again[1].features is not None
    assert first[0].features is not None
    assert torch.equal(again[1].features, first[0].features)


def test_visual_features_are_computed_once_unless_the_tower_trains(made: Any) -> None:
    prompts = prompts_of(made, keep=False)
    assert prompts.samples([0])[0].features is not None
    for parameter in made[0].backbone.vision_tower.parameters():
        parameter.requires_grad_(True)
    assert prompts.samples([0])[0].features is None
