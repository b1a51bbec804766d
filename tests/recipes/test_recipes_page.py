"""The page on recipes: every override line is valid and does what its row says."""

import re
from pathlib import Path
from typing import Any

import pytest

from latentvr.config.load import load
from latentvr.config.rules import require
from latentvr.config.schema import Recipe

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| ([^|`]+(?:`[^`]+`)?) \| `([^`|]*=[^`|]*)` \|$", PAGE, re.M))
FULL = {"latents": 16, "shared": False, "place": "after", "image_twice": False}
PLAIN = {"epochs": [4, 6], "mask": "bottleneck", "trains": ["lora", "lora"]}
# What each row changes, apart from what stays as in the recipe.
WANTED: dict[str, dict[str, Any]] = {
    "latents only: no bottleneck stage": {"epochs": [0, 10]},
    "mask only: no latents, the answer cannot see the image, the prompt can": {
        "latents": 0, "mask": "answer_only"},
    "image twice, with the two stages": {"latents": 0, "image_twice": True},
    "image twice, without them": {"latents": 0, "image_twice": True, "epochs": [0, 10]},
    "prompt tuning: the rows alone train, without the bottleneck": {
        "epochs": [0, 10], "trains": ["tokens", "tokens"]},
    "K = 4": {"latents": 4},
    "K = 8": {"latents": 8},
    "K = 16, the default": {},
    "K = 32": {"latents": 32},
    "one row for all latents": {"shared": True},
    "latents before the prompt": {"place": "before"},
    "mask: the answer cannot see the image, the prompt can": {"mask": "answer_only"},
    "mask: the bottleneck, the default": {},
    "mask: latents cannot see the prompt either": {"mask": "bottleneck_blind_latents"},
    "epochs 0 + 10": {"epochs": [0, 10]},
    "epochs 2 + 8": {"epochs": [2, 8]},
    "epochs 4 + 6, the default": {},
    "epochs 6 + 4": {"epochs": [6, 4]},
    "epochs 8 + 2": {"epochs": [8, 2]},
    "stage 2 trains the whole language model, at a tenth of the rate": {"trains": ["lora", "language"]},
    "stage 2 unfreezes everything, vision tower and projector too": {"trains": ["lora", "all"]},
    "a rate of their own for the latent rows": {},
    "strict decoding: at test too, the image is seen through the latents alone": {},
}  # fmt: skip
OTHER_RECIPE = "spatial planning with the 3B model, on `livr_vsp_qwen25vl_7b.yaml`"


def summary(recipe: Recipe) -> dict[str, Any]:
    stages = recipe.stages
    options = {key: value for key, value in vars(recipe.reasoner).items() if key in FULL}
    return {
        **options,
        "epochs": [stage.epochs for stage in stages.values()],
        "mask": stages["bottleneck"].visibility,
        "trains": [stage.trainable or recipe.optim.trainable for stage in stages.values()],
    }


def test_the_page_and_this_test_know_the_same_rows() -> None:
    assert set(ROWS) == {*WANTED, OTHER_RECIPE}


@pytest.mark.parametrize("row", WANTED)
def test_an_override_line_does_what_its_row_says(row: str) -> None:
    resolved = load(ROOT / "recipes" / "livr_qwen3_4b.yaml", ROWS[row].split())
    require(resolved)
    assert summary(resolved.recipe) == {**FULL, **PLAIN, **WANTED[row]}


def test_the_other_lines_name_existing_keys_too() -> None:
    require(load(ROOT / "recipes" / "livr_vsp_qwen25vl_7b.yaml", ROWS[OTHER_RECIPE].split()))


def test_every_recipe_has_a_row() -> None:
    listed = set(re.findall(r"^\| `(\w+\.yaml)` \|", PAGE, re.M))
    mentioned = set(re.findall(r"`(\w+\.yaml)`", PAGE))
    shipped = {path.name for path in (ROOT / "recipes").glob("*.yaml")}
    assert mentioned == shipped
    assert shipped - listed == {"demo.yaml", "tiny_backbone.yaml"}
