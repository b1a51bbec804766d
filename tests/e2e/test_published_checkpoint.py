"""A checkpoint that the LVR authors' code wrote, through the command line.

The folder is `LATENTVR_GOLDEN`, by default `../shared/golden/lvr` beside the repository;
without it the test skips.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = Path(os.environ.get("LATENTVR_GOLDEN", ROOT.parent / "shared" / "golden" / "lvr")).resolve()
CPU = ["model.dtype=float32", "train.device=cpu"]


@pytest.fixture(scope="module")
def published(complete_golden: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained weights with tokenizer and image settings, as one folder."""
    if not (GOLDEN / "model_trained" / "model.safetensors").is_file():
        pytest.skip(f"no model_trained in {GOLDEN}; set LATENTVR_GOLDEN")
    folder: Path = complete_golden(GOLDEN, "model_trained", tmp_path_factory.mktemp("published") / "model")
    return folder


def test_eval_and_generate(latentvr: Any, published: Path, tmp_path: Path) -> None:
    # Breaks if the folder is taken for a plain model: it would write no latents.
    records = [{**row, "split": "test"} for row in json.loads((GOLDEN / "sft_data.json").read_text())]
    data, out = tmp_path / "data.json", tmp_path / "out"
    data.write_text(json.dumps(records))
    asked = [*CPU, "decode.max_new_tokens=48", f"data.image_root={GOLDEN / 'images'}"]
    done = latentvr("eval", str(published), "--data", str(data), "--out", str(out), *asked)
    assert done.code == 0, done.err
    line = f"{published}: a published checkpoint of lvr, layout A, head none, no end vector"
    assert done.err.count(line) == 1
    assert "LOAD REPORT" not in done.err
    assert len((out / "predictions.jsonl").read_text().splitlines()) == len(records)
    image = GOLDEN / "images" / records[0]["image"][0]
    question = records[0]["conversations"][0]["value"].removeprefix("<image>\n")
    shown = latentvr("generate", str(published), "--image", str(image), question, "--show-latents")
    assert shown.code == 0, shown.err
    assert "8 latents" in shown.out
