"""A miniature of PixMo-Count with every trouble that links and downloads make."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

#: Counts of the good rows of training; 0, 1 and 11 are outside the paper's bounds.
COUNTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3)
TEST_SEED = 900


def row(sha256: str | None, count: int, label: str | None = "cats", points: bool = True) -> dict[str, Any]:
    where = {"x": [float(k) for k in range(count)], "y": [1.0] * count} if points else None
    return {
        "image_url": f"https://example.org/{sha256}.jpg", "image_sha256": sha256, "count": count,
        "points": where, "label": label,
    }  # fmt: skip


def write(root: Path, textures: ModuleType) -> dict[str, list[dict[str, Any]]]:
    """Write three splits; gives the rows that were written.

    Training has 14 good rows, then a dead one, one without a hash, one whose file is another picture's, a
    damaged file, a page that a server sent for an image, a blank label, a recompressed test picture, and
    a good picture a second time: under another label, and under the same.
    """
    (root / "data").mkdir(parents=True)
    (root / "images").mkdir()

    def put(data: bytes, name: str = "", ending: str = ".png") -> str:
        digest = name or hashlib.sha256(data).hexdigest()
        (root / "images" / f"{digest}{ending}").write_bytes(data)
        return digest

    def put_texture(seed: int) -> str:
        return put(textures.png_bytes(textures.texture(seed)))

    good = [row(put_texture(seed), count) for seed, count in enumerate(COUNTS)]
    kept = good[2]["image_sha256"]
    rows = {
        "train": [
            *good,
            row("d" * 64, 4),
            row(None, 4),
            row(put(textures.png_bytes(textures.texture(500)), "e" * 64), 4),
            row(put(textures.png_bytes(textures.texture(501))[:300]), 4),
            row(put(b"<html>gone</html>", ending=".jpg"), 4),
            row(put_texture(502), 4, " "),
            row(put(textures.png_bytes(textures.jpeg(textures.texture(TEST_SEED)))), 5),
            row(kept, 3, "paws"),
            row(kept, 2),
        ],
        "validation": _evaluated(put_texture, (600, 601, TEST_SEED), (1, 12, 4)),
        "test": _evaluated(put_texture, (TEST_SEED, 901, 902), (4, 15, 3)),
    }
    # Beside a picture, some downloaders leave a description under the same name.
    (root / "images" / f"{kept}.json").write_text("{}")
    rows["validation"].append(row("f" * 64, 5, points=False))
    rows["test"].append(row("a" * 64, 5, points=False))
    for split, listed in rows.items():
        write_table(root, split, listed)
    return rows


def write_table(root: Path, split: str, rows: list[dict[str, Any]]) -> None:
    points = pa.struct([("x", pa.list_(pa.float64())), ("y", pa.list_(pa.float64()))])
    texts = [(name, pa.string()) for name in ("image_url", "image_sha256", "label")]
    schema = pa.schema([*texts, ("count", pa.int32()), ("points", points)])
    pq.write_table(
        pa.Table.from_pylist(rows, schema),
        root / "data" / f"{split}-00000-of-00001.parquet",
        row_group_size=5,
    )


def _evaluated(
    put: Callable[[int], str], seeds: tuple[int, ...], counts: tuple[int, ...]
) -> list[dict[str, Any]]:
    return [row(put(seed), count, points=False) for seed, count in zip(seeds, counts, strict=True)]
