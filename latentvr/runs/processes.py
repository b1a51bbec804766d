"""The processes of a run: how many there are, and which one writes."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence

from accelerate import PartialState

from latentvr.config.schema import Recipe
from latentvr.trainers.refused_launch import require_deepspeed, require_launch
from latentvr.trainers.stage import device

log = logging.getLogger(__name__)
#: Ways of splitting that `accelerate launch` switches on through the environment.
_SPLITTING = ("DEEPSPEED", "FSDP")


def join_processes(recipe: Recipe) -> PartialState:
    """Join the other processes of a launch by `torchrun`, each on a device of its own.

    The main process alone logs, as it alone writes.

    Args:
        recipe: `train.device` says whether the processes talk as CPU or as CUDA processes do.

    Returns:
        `num_processes` and `is_main_process`; one process is the main one of one.

    Raises:
        UserError: the launcher has switched on what the recipe does not ask for, or DeepSpeed is asked for
            and not installed, or no launcher started the process.
    """
    asked = {name: os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in _SPLITTING}
    require_launch(recipe, deepspeed=asked["DEEPSPEED"], fsdp=asked["FSDP"])
    if recipe.train.deepspeed is not None:
        require_deepspeed(os.environ)
        if device(recipe) == "cpu":  # it would take a GPU by itself where there is one
            os.environ["DS_ACCELERATOR"] = "cpu"
        # Its version of torch's collectives is renamed in newer torch, which says so at each of them.
        warnings.filterwarnings("ignore", "`torch.distributed", FutureWarning)
    processes = PartialState(cpu=device(recipe) == "cpu")
    if not processes.is_main_process:
        logging.getLogger("latentvr").setLevel(logging.WARNING)
    return processes


def warn_of_repeats(recipe: Recipe, items: Sequence[int], processes: PartialState) -> None:
    """Say when samples come twice in an epoch, so that all processes have equally many batches.

    Args:
        recipe: all settings.
        items: numbers of training samples, or of rows of them, in the stages.
        processes: of the run.
    """
    at_once = recipe.train.batch_size * processes.num_processes
    what = "rows" if recipe.data.packing else "samples"
    for count in dict.fromkeys(items):
        repeated = -count % at_once
        if processes.num_processes == 1 or not repeated or not processes.is_main_process:
            continue
        if at_once > count:
            fewer = count // processes.num_processes
            log.warning(
                "steps hold some %s more than once, as %d processes take %d at once and there are %d; %s",
                what, processes.num_processes, at_once, count,
                f"train.batch_size={fewer} avoids this" if fewer else f"use at most {count} processes",
            )  # fmt: skip
        else:
            log.warning(
                "%d of %d %s come twice in each epoch, as %d processes take %d at once; "
                "a number of %s that it divides avoids this",
                repeated, count, what, processes.num_processes, at_once, what,
            )  # fmt: skip
