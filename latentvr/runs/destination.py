"""The folder that results go to: which one, whether it can be written, and whose results are in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from latentvr.data.readers.fields import shown
from latentvr.errors import RecipeError, UserError
from latentvr.runs.folder import run_folder
from latentvr.runs.results import FACTS, read_facts

#: Facts that have to be the same in results that are written over, where the verb has them.
SAME = (
    "checkpoint", "weights", "model", "data", "decode", "benchmark", "interventions", "seeds", "top_k",
)  # fmt: skip
#: Facts that results of earlier versions do not have.
_LATER = ("weights", "model")
_FIX = "choose another folder with --out"


def default_folder(path: Path, split: str, data: Path | None, verb: str = "eval") -> Path:
    """`VERB/SPLIT`, or `VERB/NAME` of the data, in a checkpoint's run folder or in `runs/VERB`."""
    name = data.stem if data is not None else split
    root = run_folder(path)
    return root / verb / name if root else Path("runs") / verb / path.name / name


def require_free(folder: Path, facts: Mapping[str, Any]) -> None:
    """See, before anything slow happens, that results can be written and take no other's place.

    Nothing stays behind, not even the folder.

    Args:
        folder: for the results.
        facts: of the evaluation that is to run; `verb` and those of `SAME` that it has are compared.

    Raises:
        UserError: the folder cannot be written, or its `results.json` is damaged.
        RecipeError: the folder holds results of another verb, checkpoint, data or settings.
    """
    _require_writable(folder)
    file = folder / FACTS
    if not file.exists():
        return
    before = read_facts(file, _FIX)
    # Results from before facts named their verb are those of eval.
    verb = before.get("verb", "eval")
    if verb != facts["verb"]:
        raise RecipeError(
            f"expected results of latentvr {facts['verb']}, got those of {shown(verb)}, at {str(file)!r}; "
            f"fix: {_FIX}"
        )
    told = [key for key in SAME if key in facts and (key in before or key not in _LATER)]
    other = [key for key in told if not _same(key, before.get(key), facts[key])]
    if other:
        raise RecipeError(
            f"expected results of the same {' and '.join(other)}, got others, at {str(file)!r}; fix: {_FIX}"
        )


def _same(key: str, before: Any, now: Any) -> bool:
    """One checkpoint has several names: with and without the working folder in front."""
    if key == "checkpoint" and isinstance(before, str):
        return Path(before).resolve() == Path(now).resolve()
    return bool(before == now)


def _require_writable(folder: Path) -> None:
    """Write and remove a file, with the folders that it takes."""
    try:
        with _made(folder), NamedTemporaryFile(dir=folder, prefix=".try-") as file:
            file.write(b"?")
            file.flush()
    except OSError as error:
        raise UserError(
            f"expected a folder that results can be written to, got: {error.strerror or error}, "
            f"at {str(folder)!r}; fix: make room, allow writing there, or {_FIX}"
        ) from error


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder, there while the block runs; what was not there before goes again."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        # A folder that another process has begun to fill stays.
        with suppress(OSError):
            for place in missing:
                place.rmdir()
