"""Store the features of toy images as one of two processes.

Arguments: rank, folder, a folder that this process has for its features.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch.distributed as dist

from latentvr.config.load import load
from latentvr.runs.sft import build_model_and_data

SETTINGS = [
    "model.path=tiny-qwen2.5-vl", "model.dtype=float32", "data.source=toy", "data.toy.train=3",
    "data.tasks=[counting, counting, jigsaw]", "train.device=cpu", "data.feature_cache=disk",
]  # fmt: skip


def main(rank: int, folder: Path, features: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/met", rank=rank, world_size=2)
    _, data = build_model_and_data(load(None, [*SETTINGS, f"data.feature_cache_dir={features}"]).recipe)
    sums = [float(data[i].features.sum()) for i in range(len(data))]  # type: ignore[union-attr]
    found = {"encoded": data.known.encoded, "sums": sums}  # type: ignore[union-attr]
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
