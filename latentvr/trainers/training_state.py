"""Optimiser, schedule, loss scaler and generators on disk, as safetensors and JSON: no pickle is read."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentvr.errors import CheckpointError

MOMENTS = "optimizer.safetensors"
SETTINGS = "optimizer.json"
_NumpyState = tuple[str, NDArray[np.uint32], int, int, float]


def save_optimizer(folder: Path, optimizer: Any, schedule: Any, scaler: Any) -> None:
    """Write the optimiser's tensors and settings, the schedule's and the loss scaler's state.

    Args:
        folder: of the checkpoint.
        optimizer: a torch optimiser; every entry of its state is a tensor, as AdamW's are.
        schedule: a learning-rate schedule.
        scaler: a loss scaler, or None.
    """
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": tensor.contiguous()
        for index, entry in state["state"].items()
        for name, tensor in entry.items()
    }
    save_file(tensors, folder / MOMENTS)
    settings = {
        "groups": state["param_groups"],
        "schedule": schedule.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
    }
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def load_optimizer(folder: Path, optimizer: Any, schedule: Any, scaler: Any) -> None:
    """Read back what `save_optimizer` wrote.

    Args:
        folder: of the checkpoint.
        optimizer: one over the same parameters, in the same order; changed in place.
        schedule: changed in place.
        scaler: a loss scaler, changed in place, or None.

    Raises:
        CheckpointError: a file is damaged or belongs to other parameters.
    """
    try:
        tensors = load_file(folder / MOMENTS)
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = tensor
        groups = [{**group, "betas": tuple(group["betas"])} for group in settings["groups"]]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        schedule.load_state_dict(settings["schedule"])
        if scaler is not None:
            scaler.load_state_dict(settings["scaler"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _unfit("the optimiser's state", folder / MOMENTS, error) from error


def generators_file(rank: int | str) -> str:
    """Name of the file with a rank's generators."""
    return f"generators-{rank}.safetensors"


def save_generators(folder: Path, rank: int) -> None:
    """Write the state of Python's, NumPy's and torch's generators, and of the GPU's if there is one."""
    version, words, gauss = random.getstate()
    # The names of a legacy state: this is the global generator, which other libraries draw from.
    kind, keys, position, has_gauss, cached = cast(_NumpyState, np.random.get_state(legacy=True))
    tensors = {
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.tensor(keys.astype(np.int64)),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    rest = {"python": [version, gauss], "numpy": [kind, position, has_gauss, cached]}
    save_file(tensors, folder / generators_file(rank), metadata={"rest": json.dumps(rest)})


def load_generators(folder: Path, rank: int) -> None:
    """Read back what `save_generators` wrote.

    Args:
        folder: of the checkpoint.
        rank: of this process.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    file = folder / generators_file(rank)
    try:
        tensors = load_file(file)
        with safe_open(file, framework="pt") as opened:
            rest = json.loads(opened.metadata()["rest"])
        version, gauss = rest["python"]
        random.setstate((version, tuple(tensors["python"].tolist()), gauss))
        kind, position, has_gauss, cached = rest["numpy"]
        np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, cached))
        torch.random.set_rng_state(tensors["cpu"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["cuda"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        fix = "resume with the number of processes of the run so far, or from another checkpoint"
        lone = not file.exists() and any(folder.glob(generators_file("*")))
        raise _unfit(f"the generators of rank {rank}", file, error, fix if lone else _DAMAGED) from error


_DAMAGED = "resume from another checkpoint"


def _unfit(what: str, file: Path, error: Exception, fix: str = _DAMAGED) -> CheckpointError:
    """Build the error for a file that cannot be used."""
    first = (str(error) or type(error).__name__).splitlines()[0]
    return CheckpointError(f"expected {what}, got: {first}, at {str(file)!r}; fix: {fix}")
