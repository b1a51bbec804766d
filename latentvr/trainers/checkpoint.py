"""Checkpoint folders: written aside, marked complete, verified before use.

`checkpoints/step-N/` holds weights and training state; `complete.json` in it, written last, lists every
file with its size and SHA-256. A folder without it, or with a file that differs, is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from latentvr.errors import CheckpointError

MARKER = "complete.json"
STATE = "run_state.json"
PARTIAL = ".partial"
REPLACED = f".replaced{PARTIAL}"
_NAME = re.compile(r"step-(\d+)")


def folder_name(step: int) -> str:
    """Name of the checkpoint after `step` optimiser steps of the run."""
    return f"step-{step}"


def step_of(folder: Path) -> int:
    """Optimiser step of a checkpoint folder."""
    match = _NAME.fullmatch(folder.name)
    return int(match.group(1)) if match else -1


def digest(file: Path) -> str:
    """SHA-256 of a file, in hex."""
    sha = hashlib.sha256()
    with file.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


def seal(partial: Path) -> Path:
    """Mark a `.partial` folder complete and give it its name.

    Everything is flushed to disk before the name changes, so that a power cut leaves the old state or the
    new.
    """
    files = {
        str(file.relative_to(partial)): {"size": file.stat().st_size, "sha256": digest(file)}
        for file in sorted(partial.rglob("*"))
        if file.is_file()
    }
    (partial / MARKER).write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")
    for file in [*partial.rglob("*"), partial]:
        flush(file)
    final = partial.with_name(partial.name.removesuffix(PARTIAL))
    before = final.with_name(final.name + REPLACED)
    if final.exists():
        # Never removed before the new one has the name: a crash between leaves one of the two whole.
        if before.exists():
            shutil.rmtree(before)
        final.rename(before)
    partial.rename(final)
    flush(final.parent)
    if before.exists():
        shutil.rmtree(before)
    return final


def flush(path: Path) -> None:
    """Force a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_aside(partial: Path, fill: Callable[[Path], None]) -> None:
    """Fill a new `.partial` folder; what an unfinished write left there goes."""
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    fill(partial)


def verify(folder: Path) -> None:
    """Check that a checkpoint is whole.

    Args:
        folder: the checkpoint.

    Raises:
        CheckpointError: it is incomplete or damaged; the message names the first bad file and offers the
            newest complete checkpoint before it.
    """
    problem = _problem(folder)
    if problem is None:
        return
    older = [f for f in listed(folder.parent) if step_of(f) < step_of(folder) and _problem(f) is None]
    fix = f"remove it and resume from {older[-1].name}" if older else "start the run again"
    raise CheckpointError(f"expected a complete checkpoint, got {problem}, at {str(folder)!r}; fix: {fix}")


def _problem(folder: Path) -> str | None:
    """Say what is wrong with a checkpoint, or None."""
    marker = folder / MARKER
    if not marker.is_file():
        return f"no {MARKER}"
    files = _listing(marker)
    if files is None:
        return f"a damaged {MARKER}"
    for name, facts in files.items():
        file = folder / name
        if not file.is_file():
            return f"no {name}"
        if {"size": file.stat().st_size, "sha256": digest(file)} != facts:
            return f"a damaged {name}"
    return None


def _listing(marker: Path) -> dict[str, Any] | None:
    """Files with their sizes and digests, or None where the marker is damaged."""
    files = _json(marker)
    return files if isinstance(files, dict) and STATE in files else None


def listed(checkpoints: Path) -> list[Path]:
    """Checkpoint folders by step, whole or not; leftovers of unfinished writes are not among them."""
    if not checkpoints.is_dir():
        return []
    return sorted((f for f in checkpoints.iterdir() if step_of(f) >= 0 and not f.is_symlink()), key=step_of)


def latest(checkpoints: Path) -> Path | None:
    """Find the newest checkpoint of a run.

    Args:
        checkpoints: the folder `checkpoints` of a run folder.

    Returns:
        The checkpoint, verified, or None where there is none.

    Raises:
        CheckpointError: the newest one is damaged.
    """
    folders = listed(checkpoints)
    if not folders:
        return None
    verify(folders[-1])
    return folders[-1]


def read_state(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's place in the run.

    Args:
        folder: a verified checkpoint.

    Returns:
        `stage` (index), `name`, `step`, `done` and `processes`.

    Raises:
        CheckpointError: the file is of another kind, although the listing fits it.
    """
    state = _json(folder / STATE)
    if not isinstance(state, dict) or not {"stage", "name", "step", "done", "processes"} <= set(state):
        raise unreadable(folder / STATE)
    return state


def require_processes(folder: Path, now: int) -> None:
    """Refuse to go on with another number of processes: steps and batches would be other ones.

    Args:
        folder: a verified checkpoint.
        now: number of processes.

    Raises:
        CheckpointError: the checkpoint was written by another number.
    """
    wrote = read_state(folder)["processes"]
    if wrote != now:
        raise CheckpointError(
            f"expected {wrote} processes as in the run so far, got {now}, at {str(folder)!r}; "
            f"fix: resume with {wrote}"
        )


def require_stage(folder: Path, names: Collection[str]) -> None:
    """Refuse to go on from a checkpoint of another kind of training.

    Args:
        folder: a verified checkpoint.
        names: stages of the run that is to go on.

    Raises:
        CheckpointError: the checkpoint was written in another stage.
    """
    name = read_state(folder)["name"]
    if name not in names:
        raise CheckpointError(
            f"expected a checkpoint of stage {' or '.join(names)}, got one of {name!r}, at {str(folder)!r}; "
            "fix: resume with the command that began the run, or give another train.output_dir"
        )


def unreadable(file: Path) -> CheckpointError:
    """Build the error for a file that is not what a checkpoint holds under its name."""
    return CheckpointError(
        f"expected the {file.name} of a checkpoint, got another text, at {str(file)!r}; "
        "fix: use another checkpoint"
    )


def _json(file: Path) -> Any:
    """Read a JSON file; None where it is none."""
    try:
        return json.loads(file.read_bytes())
    except ValueError:
        return None


def point(checkpoints: Path, name: str, target: Path) -> None:
    """Make `checkpoints/name` a link to a checkpoint, in one step."""
    aside = checkpoints / f"{name}{PARTIAL}"
    aside.unlink(missing_ok=True)
    aside.symlink_to(target.name)
    aside.replace(checkpoints / name)


def link_best(checkpoints: Path, step: int) -> None:
    """Point `best` at the checkpoint after `step`, where it still exists."""
    best = checkpoints / folder_name(step)
    if best.is_dir():
        point(checkpoints, "best", best)


def prune(checkpoints: Path, keep: int) -> None:
    """Remove leftovers of unfinished writes, and checkpoints but the newest `keep` and the linked ones."""
    for leftover in checkpoints.glob(f"step-*{PARTIAL}"):
        shutil.rmtree(leftover)
    linked = {link.resolve() for link in checkpoints.iterdir() if link.is_symlink()}
    for folder in listed(checkpoints)[:-keep]:
        if folder.resolve() not in linked:
            shutil.rmtree(folder)
