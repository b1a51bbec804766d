"""Arguments that several verbs share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", help="Settings on top, such as train.batch_size=2.", show_default=False
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show settings, sizes and steps; train nothing.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last complete checkpoint.")]
ResumeOrStart = Annotated[
    bool, typer.Option("--resume-or-start", help="Go on where the run has begun, else start it.")
]
Launcher = Annotated[
    Literal["local", "torchrun", "deepspeed", "slurm"] | None,
    typer.Option(help="Start the processes this way; with --dry-run show the command or job script."),
]
Processes = Annotated[
    int | None, typer.Option(min=1, help="With --launcher or --dry-run: processes of each machine.")
]
Nodes = Annotated[int | None, typer.Option(min=1, help="With --launcher or --dry-run: machines; else 1.")]


@dataclass(frozen=True)
class Start:
    """How a run of training is asked for: the options of `train` and `rl`, by their names."""

    dry_run: bool = False
    resume: bool = False
    resume_or_start: bool = False
    launcher: Literal["local", "torchrun", "deepspeed", "slurm"] | None = None
    processes: int | None = None
    nodes: int | None = None

    @property
    def launched(self) -> bool:
        """Whether processes are to be started for it, or their command to be shown."""
        counted = (self.processes, self.nodes) != (None, None)
        return self.launcher is not None or (counted and not self.dry_run)

    @property
    def total(self) -> int:
        """Processes of all machines, as far as they are given."""
        return (self.processes or 1) * (self.nodes or 1)

    @property
    def flags(self) -> tuple[str, ...]:
        """Options that the started processes are given too."""
        flags = {"--resume": self.resume, "--resume-or-start": self.resume_or_start}
        return tuple(flag for flag, given in flags.items() if given)
