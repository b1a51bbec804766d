"""`--launcher`: start the processes of a run by a script of `launchers/`, or show the command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from latentvr.cli.arguments import Start
from latentvr.config.load import Resolved, load
from latentvr.config.rules import require, require_for_rl
from latentvr.config.shipped import launcher_file
from latentvr.errors import UserError
from latentvr.runs.folder import require_place
from latentvr.runs.launching import (
    Launch,
    command,
    dry_run,
    gpus,
    has_begun,
    job_script,
    require_launcher,
    require_program,
    variables,
)


def run(verb: str, recipe: Path, overrides: Sequence[str], start: Start, resolved: Resolved) -> None:
    """Become the launch of a checked recipe, submit it, or print it.

    Args:
        verb: `train` or `rl`.
        recipe: file, as given.
        overrides: as given.
        start: options of the verb.
        resolved: the checked recipe.

    Raises:
        UserError: the launch cannot begin here, or the run folder is in the way.
    """
    import typer

    if start.launcher is None:
        raise UserError(
            "expected --launcher beside --processes and --nodes, got none, at "
            f"latentvr {verb}; fix: add --launcher torchrun"
        )
    _require_counts(start, os.environ)
    if start.launcher == "deepspeed" and resolved.recipe.train.deepspeed is None:
        overrides = [*overrides, f"train.deepspeed={launcher_file('deepspeed/zero2.json')}"]
        resolved = load(recipe, overrides)
        (require_for_rl if verb == "rl" else require)(resolved)
    cpu = resolved.recipe.train.device == "cpu"
    launch = Launch(
        start.launcher,
        (verb, str(recipe), *overrides, *start.flags),
        start.processes or (1 if cpu or start.launcher == "local" else max(gpus(), 1)),
        start.nodes or 1,
        cpu,
    )
    require_launcher(launch, os.environ)
    if start.dry_run:
        typer.echo(dry_run(launch))
        return
    require_program(launch.launcher)
    require_place(resolved, start.resume or (start.resume_or_start and has_begun(resolved)))
    if launch.launcher == "slurm":
        _submit(launch)
        return
    os.execvpe("bash", command(launch), {**os.environ, **variables(launch)})  # noqa: S606, S607 - our script


def _require_counts(start: Start, environment: Mapping[str, str]) -> None:
    """Refuse a job of unknown size, and a size where a file of machines says another."""
    if start.launcher == "slurm" and start.processes is None:
        raise UserError(
            "expected --processes with --launcher slurm, as the GPUs of a node cannot be counted from here, "
            "got none, at the command line; fix: add --processes and the number of GPUs of a node"
        )
    given = [f"--{name}" for name in ("processes", "nodes") if getattr(start, name) is not None]
    if start.launcher == "deepspeed" and environment.get("HOSTFILE") and given:
        raise UserError(
            f"expected machines and processes from the variable HOSTFILE alone, got {' and '.join(given)} "
            f"too, at --launcher deepspeed; fix: leave out {' and '.join(given)}, or unset HOSTFILE"
        )


def _submit(launch: Launch) -> None:
    """Give the job script to Slurm, whose answer names the job."""
    done = subprocess.run(command(launch), input=job_script(launch), text=True, check=False)  # noqa: S603
    if done.returncode:
        raise UserError(
            f"expected that sbatch takes the job, got exit code {done.returncode}, at --launcher slurm; "
            "fix: do as its message above says, with variables such as SBATCH_PARTITION, "
            "or edit the script that --dry-run prints"
        )
