"""Bars of progress, one for each name that is told of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


@contextmanager
def bars(console: Console) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show bars while the block runs.

    Args:
        console: to draw on.

    Yields:
        Callable[[str, int, int | None], None]: takes a name, how much is done, and how much there is.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        shown: dict[str, TaskID] = {}

        def told(name: str, done: int, whole: int | None) -> None:
            if name not in shown:
                shown[name] = progress.add_task(name, total=whole)
            progress.update(shown[name], completed=done)

        yield told
