"""Read back what an evaluation wrote; a results folder may come from anywhere and is not trusted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import shown, wrong
from latentvr.data.readers.strict_json import MAX_LINE_BYTES, json_lines, parse
from latentvr.diagnostics.figures import BASELINE
from latentvr.errors import RecordError, UserError

FACTS = "results.json"
PREDICTIONS = "predictions.jsonl"
_AGAIN = "evaluate again, into a new folder"
_LONGEST_NAME = 10_000


@dataclass(frozen=True)
class Answer:
    """Whether one record was answered right.

    Attributes:
        id: of the record.
        task: of the record.
        correct: whether the answer is right.
    """

    id: str
    task: str
    correct: bool


@dataclass(frozen=True)
class Results:
    """One condition of an evaluation.

    Attributes:
        folder: that it was read from.
        checkpoint: that was evaluated, as the user named it; "" where the folder does not say.
        sha256: fingerprint of the records.
        decode: settings of the answers.
        condition: name.
        answers: one for each record, in the order of the source.
    """

    folder: Path
    checkpoint: str
    sha256: str
    decode: dict[str, Any]
    condition: str
    answers: tuple[Answer, ...]


def results_folder(path: Path, split: str) -> Path:
    """Find the results that a path means.

    Args:
        path: folder with results, or a run folder.
        split: name of the folder below `eval/` of a run folder, or where there is none below `diagnose/`.

    Returns:
        The folder with the results.

    Raises:
        UserError: there are none, or the split is no plain name.
    """
    if Path(split).name != split or split in ("", ".."):
        raise UserError(f"expected the name of a split, got {shown(split)}, at --split; fix: such as test")
    places = (path, path / "eval" / split, path / "diagnose" / split)
    found = next((place for place in places if (place / FACTS).is_file()), None)
    if found is not None:
        return found
    # Names of folders come with the run, and it may be anybody's.
    others = sorted(shown(file.parent.name) for file in path.glob(f"eval/*/{FACTS}"))[:5]
    fix = f"--split {others[0]}" if others else f"latentvr eval {path} --split {split}"
    got = f"results of {', '.join(others)} alone" if others else "none"
    raise UserError(f"expected results of the split {split!r}, got {got}, at {str(path)!r}; fix: {fix}")


def read_results(folder: Path, condition: str = BASELINE) -> Results:
    """Read one condition of an evaluation.

    Args:
        folder: with `results.json` and `predictions.jsonl`.
        condition: its name; the model as it is by default.

    Returns:
        The answers and what they belong to.

    Raises:
        UserError: a file is missing, damaged or not complete, or the condition is not in it.
    """
    place = str(folder / FACTS)
    facts = _facts(folder / FACTS)
    data, decode = facts.get("data"), facts.get("decode")
    if not isinstance(data, dict) or not isinstance(decode, dict):
        raise wrong('objects "data" and "decode"', "none", place, _AGAIN)
    records, sha256 = data.get("records"), data.get("sha256")
    if type(records) is not int or records < 1 or not isinstance(sha256, str):
        raise wrong('"records" above 0 and a "sha256" in "data"', shown(data), place, _AGAIN)
    answers = _answers(folder / PREDICTIONS, records, condition)
    checkpoint = facts.get("checkpoint")
    where = checkpoint if isinstance(checkpoint, str) else ""
    return Results(folder, where, sha256, decode, condition, tuple(answers))


def _facts(file: Path) -> dict[str, Any]:
    _require_readable(file)
    with file.open("rb") as stream:
        text = stream.read(MAX_LINE_BYTES + 1)
    if len(text) > MAX_LINE_BYTES:
        raise wrong(f"at most {MAX_LINE_BYTES} bytes", "more", str(file), _AGAIN)
    value = parse(text, str(file))
    if not isinstance(value, dict):
        raise wrong("a JSON object", type(value).__name__, str(file), _AGAIN)
    return value


def _answers(file: Path, records: int, wanted: str) -> list[Answer]:
    """Answers of the condition `wanted`; more or fewer than `records` are refused."""
    _require_readable(file)
    answers: list[Answer] = []
    others: dict[str, None] = {}
    for number, row in json_lines(file, str(file)):
        if isinstance(row, RecordError):
            raise row
        name = row.get("condition") if isinstance(row, dict) else None
        if not isinstance(name, str):
            raise wrong('a row with a "condition"', shown(row), f"{file} row {number}", _AGAIN)
        if name != wanted:
            if len(others) < 20:
                others[name] = None
            continue
        answers.append(_answer(row, f"{file} row {number}"))
        if len(answers) > records:
            got, fix = "more, as a condition with several seeds has", "choose another condition"
            raise wrong(f"one answer of {wanted!r} to each of {records} records", got, str(file), fix)
    if not answers:
        got = ", ".join(shown(other) for other in others) or "no answers"
        raise wrong(f"answers of {wanted!r}", got, str(file), "choose one that is there with --condition")
    if len(answers) < records:
        got = str(len(answers))
        raise wrong(f"one answer of {wanted!r} to each of {records} records", got, str(file), _AGAIN)
    return answers


def _answer(row: dict[str, Any], where: str) -> Answer:
    texts = [row.get("id"), row.get("task")]
    for value in texts:
        if not isinstance(value, str) or len(value) > _LONGEST_NAME:
            raise wrong('short texts "id" and "task"', shown(value), where, _AGAIN)
    correct = row.get("correct")
    if not isinstance(correct, bool):
        raise wrong('true or false as "correct"', shown(correct), where, _AGAIN)
    return Answer(str(texts[0]), str(texts[1]), correct)


def _require_readable(file: Path) -> None:
    """A device or a pipe is no file: reading it may never end."""
    if not file.is_file():
        raise UserError(f"expected a file, got none, at {str(file)!r}; fix: {_AGAIN}")
    if not os.access(file, os.R_OK):
        raise UserError(
            f"expected a file that can be read, got one that cannot, at {str(file)!r}; fix: its permissions"
        )
