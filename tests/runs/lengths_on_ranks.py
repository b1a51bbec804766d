"""Lay toy samples into rows as one of two processes.

Arguments: rank, folder, longest sample in tokens.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist

from latentvr.config.load import load
from latentvr.errors import UserError
from latentvr.runs.packing import packing
from latentvr.runs.sft import build_model_and_data

SETTINGS = [
    "model.path=tiny-qwen2.5-vl", "data.source=toy", "data.toy.train=3", "data.tasks=[counting, jigsaw]",
    "train.device=cpu", "data.packing=true",
]  # fmt: skip


def main(rank: int, folder: Path, longest: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/met", rank=rank, world_size=2)
    recipe = load(None, [*SETTINGS, f"data.max_length={longest}"]).recipe
    _, data = build_model_and_data(recipe)
    found: list[Any]
    try:
        made = packing(recipe, data)
        found = [str(made.filling(0)), made.of_stage(0).rows]
    except UserError as error:
        found = [str(error)]
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
