"""Runs of a list, one after another in the same processes; started by `torchrun` with the list as JSON.

Each is `{"do": "sft" | "rl", "recipe": …, "folder": …, "overrides": […]}`; with `"from"` and `"step"` it goes
on from a copy of another run, as that was after this step; with `"fails"` it has to end in an error.
"""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from latentvr.config.load import Resolved, load
from latentvr.errors import LatentVRError
from latentvr.runs import rl, sft

HERE = Path(__file__).parent
SCRIPTS = {"sft": "ranks_run.py", "rl": "rl_ranks_run.py"}
KIND = "dapo"


def one(job: dict[str, Any]) -> None:
    """Make one run of the list."""
    folder, overrides = Path(job["folder"]), list(job["overrides"])
    if "fails" in job:
        failed(job, [*overrides, f"train.output_dir={folder / 'run'}"])
        return
    if "from" not in job:
        arguments = [job["recipe"], folder, *([[KIND]] if job["do"] == "rl" else []), overrides]
        runpy.run_path(str(HERE / SCRIPTS[job["do"]]))["work"](*arguments)
        return
    run = folder / (KIND if job["do"] == "rl" else "run")
    if torch.distributed.get_rank() == 0:
        copied(Path(job["from"]), run, job["step"])
    torch.distributed.barrier()
    given = [*overrides, f"train.output_dir={run}", *([f"rl.loss_type={KIND}"] if job["do"] == "rl" else [])]
    trained(job, load(Path(job["recipe"]), given), resume=True)


def trained(job: dict[str, Any], resolved: Resolved, resume: bool = False) -> None:
    """Train as the command line does."""
    (rl.train if job["do"] == "rl" else sft.train)(resolved, resume)


def copied(source: Path, target: Path, step: int) -> None:
    """Copy a run without what came after a step."""
    shutil.copytree(source, target, symlinks=True)
    for checkpoint in (target / "checkpoints").iterdir():
        if checkpoint.is_symlink():
            checkpoint.unlink()
        elif int(checkpoint.name.removeprefix("step-")) > step:
            shutil.rmtree(checkpoint)


def failed(job: dict[str, Any], overrides: list[str]) -> None:
    """Train, and write what the error said in each process."""
    try:
        trained(job, load(Path(job["recipe"]), overrides))
    except LatentVRError as error:
        text = f"{type(error).__name__}: {error}"
        Path(job["folder"], f"error-{torch.distributed.get_rank()}.txt").write_text(text)


if __name__ == "__main__":
    for entry in json.loads(Path(sys.argv[1]).read_text()):
        one(entry)
