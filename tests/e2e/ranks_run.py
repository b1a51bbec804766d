"""A run as `latentvr train` makes it, then a stage whose weights every process writes; started by `torchrun`.

Arguments: recipe, folder, overrides.
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file

from latentvr.config.load import load
from latentvr.runs.packing import staged
from latentvr.runs.processes import join_processes
from latentvr.runs.sft import build_model_and_data, stage_runs, train, train_stage
from latentvr.trainers.signals import StopRequest


def work(recipe: str, folder: Path, overrides: list[str]) -> None:
    """Train in `folder/run`, and one stage more in `folder/stage` with `folder/rank-N.safetensors`."""
    train(load(Path(recipe), [*overrides, f"train.output_dir={folder / 'run'}"]))
    settings = load(Path(recipe), overrides).recipe
    processes = join_processes(settings)
    model, data = build_model_and_data(settings)
    (folder / "stage").mkdir(exist_ok=True)
    items = staged(settings, data)
    run = stage_runs(settings, items.count, processes.num_processes)[0]
    train_stage(model, settings, run, folder / "stage", items, None, StopRequest(), None)
    weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    save_file(weights, folder / f"rank-{processes.process_index}.safetensors")


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
