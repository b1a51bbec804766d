"""Launches of a run: which script starts the processes, with which arguments and variables."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from latentvr.config.load import Resolved
from latentvr.config.shipped import launcher_file
from latentvr.errors import UserError
from latentvr.runs.folder import RESOLVED

#: A job script's line for the GPUs of a node.
GPUS = "#SBATCH --gpus-per-node"
Launcher = Literal["local", "torchrun", "deepspeed", "slurm"]
SCRIPTS: dict[Launcher, str] = {
    "local": "local.sh",
    "torchrun": "torchrun.sh",
    "deepspeed": "deepspeed.sh",
    "slurm": "slurm.sbatch",
}


@dataclass(frozen=True)
class Launch:
    """What is started, and on how much.

    Attributes:
        launcher: who starts the processes.
        arguments: of `latentvr` in each process: verb, recipe, overrides, `--resume`.
        processes: on each machine.
        nodes: machines.
        cpu: whether the processes use no GPU.
    """

    launcher: Launcher
    arguments: tuple[str, ...]
    processes: int
    nodes: int
    cpu: bool = False


def gpus() -> int:
    """Count the GPUs that a launch here would use; 0 where there are none, or no driver to ask."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    asked = shutil.which("nvidia-smi")
    if asked is None:
        return 0
    listed = subprocess.run([asked, "--list-gpus"], capture_output=True, text=True, check=False)  # noqa: S603
    return len([line for line in listed.stdout.splitlines() if line.startswith("GPU")])


def require_launcher(launch: Launch, environment: Mapping[str, str]) -> None:
    """Refuse a launch that cannot begin here.

    Args:
        launch: what is to be started.
        environment: variables.

    Raises:
        UserError: several processes without a launcher for them, machines that could not meet, or a missing
            program.
    """
    if launch.launcher == "local" and (launch.processes, launch.nodes) != (1, 1):
        raise UserError(
            f"expected one process, got --processes {launch.processes} --nodes {launch.nodes}, at --launcher "
            "local; fix: --launcher torchrun"
        )
    if launch.nodes > 1 and launch.launcher in ("torchrun", "deepspeed") and "MASTER_ADDR" not in environment:
        raise UserError(
            f"expected the name of a machine where {launch.nodes} machines meet, got none, at the variable "
            "MASTER_ADDR; fix: set it to the name of one of them, and give the same command on each"
        )


def require_program(launcher: Launcher) -> None:
    """Refuse a launcher whose program is not installed.

    Args:
        launcher: who starts the processes.

    Raises:
        UserError: the program or the package is missing.
    """
    if launcher == "deepspeed" and importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            "expected the package deepspeed, got none, at --launcher deepspeed; "
            "fix: pip install 'latentvr[deepspeed]', or --launcher torchrun"
        )
    program = "sbatch" if launcher == "slurm" else "bash"
    if shutil.which(program) is None:
        raise UserError(
            f"expected the program {program}, got none, at --launcher {launcher}; "
            + (
                "fix: submit on a machine of the cluster, or see the job script with --dry-run"
                if launcher == "slurm"
                else "fix: install it, or call latentvr without --launcher"
            )
        )


def command(launch: Launch) -> list[str]:
    """Arguments of the process that launches; a job script is read from standard input.

    Args:
        launch: what is to be started.

    Returns:
        Program and arguments.
    """
    if launch.launcher == "slurm":
        return ["sbatch"]
    return ["bash", str(launcher_file(SCRIPTS[launch.launcher])), *launch.arguments]


def variables(launch: Launch) -> dict[str, str]:
    """Variables that tell the scripts what a launch is.

    Args:
        launch: what is to be started.

    Returns:
        Values by name.
    """
    return {"PYTHON": sys.executable, "NPROC": str(launch.processes), "NODES": str(launch.nodes)}


def dry_run(launch: Launch) -> str:
    """What a launch would run: the command, or the whole job script.

    Args:
        launch: what is to be started.

    Returns:
        Text, ready to be copied.
    """
    if launch.launcher == "slurm":
        return job_script(launch)
    environment = {**os.environ, **variables(launch), "DRY_RUN": "1"}
    done = subprocess.run(  # noqa: S603 - our own script
        command(launch), env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def job_script(launch: Launch) -> str:
    """The job script for Slurm with nodes, processes, Python and arguments filled in.

    Args:
        launch: what is to be started.

    Returns:
        Text of the script.
    """
    text = launcher_file(SCRIPTS["slurm"]).read_text(encoding="utf-8")
    filled = (
        (r"^#SBATCH --nodes=.*$", f"#SBATCH --nodes={launch.nodes}"),
        (r"^#SBATCH --gpus-per-node=.*\n", "" if launch.cpu else f"{GPUS}={launch.processes}\n"),
        (r"^set -euo pipefail$", f"set -euo pipefail\n\n{_settings(launch)}"),
    )
    for pattern, line in filled:
        found = re.search(pattern, text, flags=re.MULTILINE)
        if found is None:
            raise UserError(
                f"expected a line like {pattern}, got none, at {launcher_file(SCRIPTS['slurm'])}; "
                "fix: install latentvr again"
            )
        text = text[: found.start()] + line + text[found.end() :]
    return text


def _settings(launch: Launch) -> str:
    """Lines that make the script's arguments and variables those of the launch."""
    return "\n".join(
        (
            f"PYTHON={shlex.quote(sys.executable)}",
            f"NPROC={launch.processes}",
            f"set -- {shlex.join(launch.arguments)}",
        )
    )


def has_begun(resolved: Resolved) -> bool:
    """Tell whether the run folder of a recipe holds a run, which can be resumed.

    Args:
        resolved: a checked recipe.

    Returns:
        False where the folder is new, empty or something else.
    """
    return (Path(resolved.recipe.train.output_dir) / RESOLVED).is_file()
