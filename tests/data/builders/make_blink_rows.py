"""A parquet file of BLINK's columns whose rows show given pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def _cell(image: Image.Image | None) -> dict[str, bytes | str | None] | None:
    if image is None:
        return None
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=85)
    return {"bytes": out.getvalue(), "path": None}


def write(root: Path, sub_task: str, rows: Sequence[Sequence[Image.Image]]) -> None:
    """Write `<sub_task>/val-00000-of-00001.parquet`; pictures that a row lacks are null."""
    table = [
        {
            "idx": f"val_{sub_task}_{number}",
            "sub_task": sub_task,
            "question": "Which one?",
            **{f"image_{k + 1}": _cell(row[k] if k < len(row) else None) for k in range(4)},
            "choices": ["the second image", "the third image"],
            "answer": "(A)",
            "prompt": "Which one?\n(A) the second image\n(B) the third image\n",
            "explanation": "",
        }
        for number, row in enumerate(rows, 1)
    ]
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    texts = [
        (name, pa.string()) for name in ("idx", "sub_task", "question", "answer", "prompt", "explanation")
    ]
    images = [(f"image_{k}", picture) for k in range(1, 5)]
    schema = pa.schema([*texts, *images, ("choices", pa.list_(pa.string()))])
    (root / sub_task).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table, schema), root / sub_task / "val-00000-of-00001.parquet")
