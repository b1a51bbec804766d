"""The page on LVR: every variant is a valid override of its recipe."""

import re
from pathlib import Path

import pytest

from latentvr.config.load import load
from latentvr.config.rules import require

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "methods" / "lvr.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| `([^`|]*=[^`|]*)` \|$", PAGE, re.M)


def test_the_page_has_rows() -> None:
    assert len(ROWS) >= 16
    assert len({overrides for _, overrides in ROWS}) == len(ROWS)


@pytest.mark.parametrize("overrides", [overrides for _, overrides in ROWS])
def test_a_variant_is_valid_and_changes_the_recipe(overrides: str) -> None:
    path = ROOT / "recipes" / "lvr_qwen25vl_7b.yaml"
    varied, plain = load(path, overrides.split()), load(path)
    require(varied)
    for item in overrides.split():
        key = item.partition("=")[0]
        assert varied.provenance[key] != plain.provenance[key]
    assert varied.recipe != plain.recipe
