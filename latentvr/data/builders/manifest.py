"""The end of a build: records, check sums, a sheet of samples, and the manifest that marks it complete."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL

from latentvr import __version__
from latentvr.data.builders.builder import Builder
from latentvr.data.builders.hashes import checksums
from latentvr.data.builders.journal import MANIFEST, write
from latentvr.data.images import open_image

if TYPE_CHECKING:
    from latentvr.data.builders.run import Split


def finish(
    builder: Builder, settings: Mapping[str, Any], splits: Sequence[Split], out: Path
) -> dict[str, Any]:
    """Write what the splits came to.

    Args:
        builder: of the task.
        settings: of the build.
        splits: what was made, images written.
        out: folder of the records.

    Returns:
        The manifest.
    """
    inputs = dict(settings["tables"])
    for split in (split for split in splits if split.entries):
        rows = [_row(builder, split.name, entry) for entry in split.entries]
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        write(out / f"{split.name}.jsonl", "".join(lines).encode())
        for entry in split.entries:
            inputs.update(entry["inputs"])
    write(out / "inputs.sha256", checksums(inputs).encode())
    _write_sheet(builder, splits, out)
    manifest = {
        "task": builder.name,
        "source": builder.source,
        "licence": builder.licence,
        "seed": settings["seed"],
        "rules": settings["rules"],
        "splits": {split.name: _counts(split) for split in splits},
        "inputs": {"tables": settings["tables"], "files": len(inputs), "list": "inputs.sha256"},
        "duplicates": {split.name: split.duplicates for split in splits if split.duplicates},
        "notes": dict(builder.notes()),
        "made_with": versions(),
    }
    # Last: a folder with a manifest is complete.
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write(out / MANIFEST, text.encode())
    return manifest


def versions() -> dict[str, str]:
    """Versions of what the bytes of pictures and draws depend on."""
    return {"latentvr": __version__, "pillow": PIL.__version__, "numpy": np.__version__}


def _counts(split: Split) -> dict[str, Any]:
    """What a split came to, for the manifest."""
    labels = Counter(entry["row"]["label"] for entry in split.entries)
    strata = Counter(entry["stratum"] for entry in split.entries)
    return {
        "records": len(split.entries),
        "candidates": split.candidates,
        "tried": split.tried,
        "rejected": dict(sorted(split.rejected.items())),
        "labels": dict(sorted(labels.items())),
        "strata": dict(sorted(strata.items())) if set(strata) != {""} else {},
    }


def _row(builder: Builder, split: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A record in its written form."""
    row = entry["row"]
    return {
        "id": f"{builder.name}_{split}_{entry['number']:06d}",
        "task": row["task"] or builder.task,
        "split": split,
        "images": entry["images"],
        "prompt": row["prompt"],
        "answer": row["answer"],
        "answer_type": row["answer_type"],
        "question": row["question"],
        "choices": row["choices"],
        "bboxes": row["bboxes"],
        "response": row["response"],
        "meta": {**row["meta"], "key": entry["key"], "seed": builder.seed},
    }


def _write_sheet(builder: Builder, splits: Sequence[Split], out: Path) -> None:
    """Draw samples, evenly spread over the first split that has records."""
    from latentvr.data.builders.sheet import MOST, sheet

    full = next((split for split in splits if split.entries), None)
    if full is None:
        return
    places = np.unique(np.linspace(0, len(full.entries) - 1, MOST).astype(int))
    samples = []
    for entry in (full.entries[place] for place in places):
        pictures = [open_image(name, out, entry["key"]) for name in entry["images"]]
        text = f"{entry['row']['prompt']}\n= {entry['row']['answer']}"
        samples.append((f"{builder.name}_{full.name}_{entry['number']:06d}", pictures, text))
    sheet(samples).save(out / "sheet.png", format="PNG")
