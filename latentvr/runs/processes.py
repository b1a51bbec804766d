"""The processes of a run: how many there are, and which one writes."""

from __future__ import annotations

import logging

from accelerate import PartialState

from latentvr.config.schema import Recipe
from latentvr.trainers.stage import device

log = logging.getLogger(__name__)


def join_processes(recipe: Recipe) -> PartialState:
    """Join the other processes of a launch by `torchrun`, each on a device of its own.

    The main process alone logs, as it alone writes.

    Args:
        recipe: `train.device` says whether the processes talk as CPU or as CUDA processes do.

    Returns:
        `num_processes` and `is_main_process`; one process is the main one of one.
    """
    processes = PartialState(cpu=device(recipe) == "cpu")
    if not processes.is_main_process:
        logging.getLogger("latentvr").setLevel(logging.WARNING)
    return processes


def warn_of_repeats(recipe: Recipe, samples: int, processes: PartialState) -> None:
    """Say when samples come twice in an epoch, so that all processes have equally many batches.

    Args:
        recipe: all settings.
        samples: number of training samples.
        processes: of the run.
    """
    at_once = recipe.train.batch_size * processes.num_processes
    repeated = -samples % at_once
    if processes.num_processes > 1 and repeated and processes.is_main_process:
        log.warning(
            "%d of %d samples come twice in each epoch, as %d processes take %d at once; "
            "a number of samples that it divides avoids this",
            repeated, samples, processes.num_processes, at_once,
        )  # fmt: skip
