"""Boxes to visual tokens: every row of `roi.json`, degenerate and outside boxes too."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.data.regions import region_rectangle, region_tokens
from latentvr.errors import RecordError


def _merge(golden: Any) -> int:
    """Patches per side of a visual token: of any model of the folder, they share one image processor."""
    for file in golden.files("*/config.json"):
        return int(golden.json(file)["vision_config"]["spatial_merge_size"])
    pytest.skip("no config.json in the folder")


def test_every_box_covers_the_same_tokens(golden: Any, agree: Any) -> None:
    merge = _merge(golden)
    for number, row in enumerate(golden.json("roi.json")):
        grid, box = torch.tensor(row["grid_thw"]), tuple(row["bbox"])
        if not row["idx_n"]:
            with pytest.raises(RecordError, match="box"):
                region_tokens(box, grid, merge)
            continue
        agree("regions", region_rectangle(box, grid, merge), row["idx_rect"], f"rectangle of row {number}")
        tokens = region_tokens(box, grid, merge)
        y0, x0, y1, x1 = row["idx_rect"]
        width = row["grid_thw"][2] // merge
        wanted = row["idx"] or [y * width + x for y in range(y0, y1) for x in range(x0, x1)]
        agree("regions", tokens, wanted, f"tokens of row {number}")
