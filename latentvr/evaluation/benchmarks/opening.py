"""Where a benchmark's files are: in a folder that was named, or in the hub's cache after a download."""

from __future__ import annotations

import re
from pathlib import Path

from latentvr.errors import UserError
from latentvr.evaluation.benchmarks.registry import find

_HUB = "hf://datasets/"
_ID = re.compile(r"[\w.-]+/[\w.-]+")


def opened(name: str, where: str | None = None) -> Path:
    """Find a benchmark's files, or fetch them.

    Args:
        name: of the benchmark.
        where: its folder or file, or `hf://datasets/OWNER/NAME` for a copy on the hub; None fetches the
            benchmark's own data set from the hub, once.

    Returns:
        A folder or file that the benchmark's `load` takes.

    Raises:
        UserError: unknown benchmark, no such folder or file, or the hub cannot give it.
    """
    benchmark = find(name)
    if where is not None and where.startswith(_HUB):
        return _fetched(name, _hub_id(where), benchmark.patterns)
    if where is not None:
        path = Path(where).expanduser()
        if path.exists():
            return path
        raise UserError(
            f"expected a folder or file of {benchmark.title}, got none, at {where}; fix: check the path"
        )
    if not benchmark.patterns:
        raise UserError(
            f"expected a folder or file of {benchmark.title}, got none, at benchmark {name}; "
            f"fix: {benchmark.by_hand}, and name the folder as {name}=FOLDER"
        )
    return _fetched(name, benchmark.hub, benchmark.patterns)


def _hub_id(where: str) -> str:
    found = where.removeprefix(_HUB).strip("/")
    if not _ID.fullmatch(found):
        raise UserError(
            f"expected {_HUB}OWNER/NAME, got {where!a}, at --bench; "
            "fix: write the data set's id so, or a folder"
        )
    return found


def _fetched(name: str, hub: str, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(hub, repo_type="dataset", allow_patterns=list(patterns) or None)
    except (errors.HTTPError, OSError, ValueError) as error:  # type: ignore[attr-defined]
        raise UserError(
            f"expected the data set {hub}, got {type(error).__name__}, at benchmark {name}; "
            f"fix: download it where there is a network, and name its folder as {name}=FOLDER"
        ) from error
    return Path(folder)
