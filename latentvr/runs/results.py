"""Read back what an evaluation wrote; a results folder may come from anywhere and is not trusted."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
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
_LARGEST_SEED = 10**9
#: Conditions or seeds that a message names at most.
_NAMED = 20


@dataclass(frozen=True)
class Answer:
    """Whether one record was answered right.

    Attributes:
        id: of the record.
        task: of the record.
        correct: whether the answer is right.
        rule: id of the rule that read the answer; that of records where the file does not say.
    """

    id: str
    task: str
    correct: bool
    rule: str = "native"


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
        seed: of the run, of a condition that has several; None where it has one.
        benchmark: name and style of a benchmark; empty for records, which bring their prompts.
        model: settings of the model that the evaluation changed.
        weights: mark of the weights that were evaluated; None where the folder does not say.
    """

    folder: Path
    checkpoint: str
    sha256: str
    decode: dict[str, Any]
    condition: str
    answers: tuple[Answer, ...]
    seed: int | None = None
    benchmark: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None


def results_folder(path: Path, split: str, condition: str = BASELINE) -> Path:
    """Find the results that a path means.

    Args:
        path: folder with results, or a run folder.
        split: name of the folder below `eval/` of a run folder, or where there is none below `diagnose/`;
            the other way round for another condition than the model as it is.
        condition: that is looked for.

    Returns:
        The folder with the results.

    Raises:
        UserError: there are none, or the split is no plain name.
    """
    if Path(split).name != split or split in ("", ".."):
        raise UserError(f"expected the name of a split, got {shown(split)}, at --split; fix: such as test")
    verbs = ("eval", "diagnose") if condition == BASELINE else ("diagnose", "eval")
    places = (path, *(path / verb / split for verb in verbs))
    found = next((place for place in places if (place / FACTS).is_file()), None)
    if found is not None:
        return found
    # Names of folders come with the run, and it may be anybody's.
    files = [file for verb in verbs for file in path.glob(f"{verb}/*/{FACTS}")]
    others = sorted({shown(file.parent.name) for file in files})[:5]
    fix = f"--split {others[0]}" if others else f"latentvr {verbs[0]} {path} --split {split}"
    got = f"results of {', '.join(others)} alone" if others else "none"
    raise UserError(f"expected results of the split {split!r}, got {got}, at {str(path)!r}; fix: {fix}")


def read_results(folder: Path, condition: str = BASELINE, seed: int = 0) -> Results:
    """Read one condition of an evaluation.

    Args:
        folder: with `results.json` and `predictions.jsonl`.
        condition: its name; the model as it is by default.
        seed: which run is taken, of a condition that has several; the only run is that of seed 0.

    Returns:
        The answers and what they belong to.

    Raises:
        UserError: a file is missing, damaged or not complete, or condition or seed are not in it.
    """
    place = str(folder / FACTS)
    facts = read_facts(folder / FACTS)
    data, decode = facts.get("data"), facts.get("decode")
    if not isinstance(data, dict) or not isinstance(decode, dict):
        raise wrong('objects "data" and "decode"', "none", place, _AGAIN)
    records, sha256 = data.get("records"), data.get("sha256")
    if type(records) is not int or records < 1 or not isinstance(sha256, str):
        raise wrong('"records" above 0 and a "sha256" in "data"', shown(data), place, _AGAIN)
    answers, drawn = _answers(folder / PREDICTIONS, records, condition, seed)
    checkpoint = facts.get("checkpoint")
    where = checkpoint if isinstance(checkpoint, str) else ""
    benchmark, model = (_object(facts, key, place) for key in ("benchmark", "model"))
    weights = facts.get("weights")
    return Results(
        folder,
        where,
        sha256,
        decode,
        condition,
        tuple(answers),
        seed if drawn else None,
        {key: benchmark[key] for key in ("name", "style") if key in benchmark},
        model,
        weights if isinstance(weights, str) else None,
    )


def _object(facts: dict[str, Any], key: str, place: str) -> dict[str, Any]:
    """An object that results of earlier versions do not have."""
    value = facts.get(key)
    if value is not None and not isinstance(value, dict):
        raise wrong(f'an object "{key}"', shown(value), place, _AGAIN)
    return value or {}


def read_facts(file: Path, fix: str = _AGAIN) -> dict[str, Any]:
    """Read a `results.json`.

    Args:
        file: it.
        fix: what errors advise.

    Returns:
        What it says, unchecked.

    Raises:
        UserError: it is missing, too long, or no object of strict JSON.
    """
    _require_readable(file, fix)
    with file.open("rb") as stream:
        text = stream.read(MAX_LINE_BYTES + 1)
    if len(text) > MAX_LINE_BYTES:
        raise wrong(f"at most {MAX_LINE_BYTES} bytes", "more", str(file), fix)
    try:
        value = parse(text, str(file))
    except RecordError as error:
        raise RecordError(f"{str(error).rpartition('; fix: ')[0]}; fix: {fix}") from error
    if not isinstance(value, dict):
        raise wrong("a JSON object", type(value).__name__, str(file), fix)
    return value


def _answers(file: Path, records: int, wanted: str, seed: int) -> tuple[list[Answer], bool]:
    """Answers of the condition `wanted`, and whether it has seeds; `records` of them are wanted."""
    _require_readable(file)
    answers: list[Answer] = []
    others: dict[str, None] = {}
    seeds: dict[int | None, None] = {}
    for number, row in json_lines(file, str(file)):
        if isinstance(row, RecordError):
            raise row
        where = f"{file} row {number}"
        name = row.get("condition") if isinstance(row, dict) else None
        if not isinstance(name, str):
            raise wrong('a row with a "condition"', shown(row), where, _AGAIN)
        if name != wanted:
            _note(others, name)
            continue
        drawn = _seed(row, where)
        _note(seeds, drawn)
        if (drawn or 0) == seed:
            answers.append(_answer(row, where))
        if len(answers) > records:
            raise wrong(f"one answer of {wanted!r} to each of {records} records", "more", str(file), _AGAIN)
    _require_found(len(answers), records, wanted, seed, list(seeds), list(others), str(file))
    return answers, seeds.keys() != {None}


def _note(names: dict[Any, None], name: object) -> None:
    """Remember a name for a message; a file may have any number of them."""
    if len(names) < _NAMED:
        names[name] = None


def _require_found(
    found: int, records: int, wanted: str, seed: int, seeds: list[int | None], others: list[str], file: str
) -> None:
    """Refuse a condition or a seed that is not there, or not for all records."""
    if not found and not seeds:
        got = ", ".join(shown(other) for other in others) or "no answers"
        raise wrong(f"answers of {wanted!r}", got, file, "choose one that is there with --condition")
    if not found:
        there = ", ".join(str(each or 0) for each in seeds)
        raise wrong(f"answers of {wanted!r} with seed {seed}", f"seed {there}", file, "choose it with --seed")
    if found < records:
        raise wrong(f"one answer of {wanted!r} to each of {records} records", str(found), file, _AGAIN)


def _seed(row: dict[str, Any], where: str) -> int | None:
    """The seed of an answer; None of a condition with one run."""
    seed = row.get("seed")
    if seed is not None and (type(seed) is not int or not 0 <= seed <= _LARGEST_SEED):
        raise wrong('a whole number of 0 or more as "seed"', shown(seed), where, _AGAIN)
    return seed


def _answer(row: dict[str, Any], where: str) -> Answer:
    texts = [row.get("id"), row.get("task"), row.get("rule", "native")]
    for value in texts:
        if not isinstance(value, str) or len(value) > _LONGEST_NAME:
            raise wrong('short texts "id", "task" and "rule"', shown(value), where, _AGAIN)
    correct = row.get("correct")
    if not isinstance(correct, bool):
        raise wrong('true or false as "correct"', shown(correct), where, _AGAIN)
    return Answer(str(texts[0]), str(texts[1]), correct, str(texts[2]))


def _require_readable(file: Path, fix: str = _AGAIN) -> None:
    """A device or a pipe is no file: reading it may never end."""
    if not file.is_file():
        raise UserError(f"expected a file, got none, at {str(file)!r}; fix: {fix}")
    if not os.access(file, os.R_OK):
        raise UserError(
            f"expected a file that can be read, got one that cannot, at {str(file)!r}; fix: its permissions"
        )
