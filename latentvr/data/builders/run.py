"""Run a builder: the same input, parameters and seed give the same bytes, however many workers there are."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentvr.data.builders.builder import Builder, Candidate, Listing, Rejection
from latentvr.data.builders.hashes import file_sha256
from latentvr.data.builders.journal import FOLDER, Journal, opened, write
from latentvr.data.builders.making import Outcome, Picture, Recipe, Submit, ahead, relative, row_of, workshop
from latentvr.data.builders.manifest import finish, versions
from latentvr.data.builders.order import Quota, interleaved, passes, require_unique, shuffled
from latentvr.errors import RecordError, UserError

Told = Callable[[str, int, int | None], None]


@dataclass
class Split:
    """What a split came to.

    Attributes:
        name: of the split.
        candidates: that were listed.
        tried: candidates that were looked at.
        rejected: by rule, those of the listing included.
        entries: of accepted candidates, in order.
        duplicates: key and detail of each rejection that has a detail.
    """

    name: str
    candidates: int
    tried: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    entries: list[dict[str, Any]] = field(default_factory=list)
    duplicates: list[dict[str, Any]] = field(default_factory=list)


def build(
    recipe: Recipe, out: Path, splits: Sequence[str] = (), workers: int = 1, told: Told | None = None
) -> dict[str, Any]:
    """Make records, images, `manifest.json`, `inputs.sha256` and `sheet.png` in a folder.

    Args:
        recipe: builder, data set's folder, parameters and seed.
        out: new folder, or one where the same build was stopped.
        splits: to make; all of the builder by default.
        workers: processes that make samples.
        told: is called with split, records so far and records wanted, for a progress bar.

    Returns:
        The manifest.

    Raises:
        UserError: the data set's folder or `out` cannot be used, or a rule leaves too few records.
    """
    if not recipe.root.is_dir():
        raise UserError(
            f"expected the data set's folder, got none, at --root {str(recipe.root)!r}; fix: check the path"
        )
    wanted = _splits(recipe.builder, splits)
    builder = recipe.open()
    listings = {
        split: builder.candidates(split) if builder.size(split) != 0 else Listing(()) for split in wanted
    }
    tables = {relative(path, recipe.root): file_sha256(path) for path in builder.tables()}
    settings = {
        "task": builder.name,
        "seed": recipe.seed,
        "splits": list(wanted),
        "rules": recipe.rules.written(),
        "tables": tables,
        "candidates": {split: _digest(listing) for split, listing in listings.items()},
        "root": str(recipe.root.resolve()),
        "made with": versions(),
    }
    with opened(out, settings) as place, workshop(recipe, builder, workers) as submit:
        done = [
            _split(builder, split, listings[split], out, place, (submit, ahead(workers)), told)
            for split in wanted
        ]
        return finish(builder, settings, done, out)


def _digest(listing: Listing) -> str:
    """SHA-256 of all candidates: a build must not go on in a folder with other files than at its start."""
    sha = hashlib.sha256()
    for candidate in listing.candidates:
        facts = json.dumps([candidate.key, candidate.stratum, candidate.facts], sort_keys=True)
        sha.update(facts.encode() + b"\n")
    return sha.hexdigest()


def _splits(builder: type[Builder], splits: Sequence[str]) -> tuple[str, ...]:
    """The wanted splits in the builder's order."""
    unknown = [split for split in splits if split not in builder.splits]
    if unknown:
        raise UserError(
            f"expected splits of {', '.join(builder.splits)}, got {unknown[0]!r}, at --splits; "
            f"fix: those are what {builder.name} makes"
        )
    return tuple(split for split in builder.splits if split in (splits or builder.splits))


def _split(
    builder: Builder,
    name: str,
    listing: Listing,
    out: Path,
    place: Path,
    making: tuple[Submit, int],
    told: Told | None,
) -> Split:
    """Try candidates in order until the split has its size."""
    size, shares = builder.size(name), builder.shares(name)
    candidates = listing.candidates
    require_unique(candidates)
    if shares is None:
        shares = dict.fromkeys(sorted({candidate.stratum for candidate in candidates}), 1.0)
    if size is not None:
        candidates = interleaved(shuffled(candidates, builder.draws(name)), shares)
    quota = Quota(size, shares)
    journal = Journal(place / f"{name}.jsonl")
    done = Split(name, len(candidates), rejected=Counter(listing.rejected))
    for candidate, outcome in _outcomes(name, candidates, quota, journal, out, making):
        entry = journal.done.get(candidate.key)
        if entry is None:
            entry = _keep(candidate, outcome(), name, len(done.entries) + 1, builder, out)
            journal.add(entry)
        done.tried += 1
        if "rule" in entry:
            done.rejected[entry["rule"]] += 1
            if entry["detail"]:
                done.duplicates.append({"key": candidate.key, **entry["detail"]})
            continue
        quota.accept(candidate.stratum)
        done.entries.append(entry)
        if told is not None:
            told(name, quota.accepted, size)
    _require_enough(done, size, builder)
    return done


def _outcomes(
    name: str,
    candidates: Sequence[Candidate],
    quota: Quota,
    journal: Journal,
    out: Path,
    making: tuple[Submit, int],
) -> Iterator[tuple[Candidate, Callable[[], Outcome | Rejection]]]:
    """Give candidates in order with the call that waits for each; workers are some candidates ahead.

    A candidate is begun ahead by what is known then. Whether it counts is decided when its turn comes, so
    that the number of workers changes nothing but the time.
    """
    submit, most = making
    begun: dict[str, Callable[[], Outcome | Rejection]] = {}
    for at, candidate in _turns(candidates, quota):
        for later in candidates[at : at + most]:
            if later.key in begun or quota.full(later.stratum) or _is_done(journal, later.key, out):
                continue
            begun[later.key] = submit(name, later)
        if not _is_done(journal, candidate.key, out) and candidate.key not in begun:
            begun[candidate.key] = submit(name, candidate)
        yield candidate, begun.pop(candidate.key, _never)


def _turns(candidates: Sequence[Candidate], quota: Quota) -> Iterator[tuple[int, Candidate]]:
    """The candidates to try with their places in the list."""
    places = {candidate.key: at for at, candidate in enumerate(candidates)}
    for candidate in passes(candidates, quota):
        yield places[candidate.key], candidate


def _never() -> Outcome | Rejection:
    raise RuntimeError("the journal has this candidate's outcome")


def _is_done(journal: Journal, key: str, out: Path) -> bool:
    """Whether an earlier process has got a candidate done, its images included."""
    entry = journal.done.get(key)
    if entry is not None and any(not (out / image).is_file() for image in entry.get("images", ())):
        raise RecordError(
            f"expected the images of the build that was begun, got some missing, at {str(out)!r}; "
            f"fix: remove the folder {FOLDER} and everything beside it, then build anew"
        )
    return entry is not None


def _keep(
    candidate: Candidate, outcome: Outcome | Rejection, split: str, number: int, builder: Builder, out: Path
) -> dict[str, Any]:
    """Write an outcome's images, and give its entry in the journal."""
    if isinstance(outcome, Rejection):
        return {"key": candidate.key, "rule": outcome.rule, "detail": outcome.detail}
    names = []
    for k, picture in enumerate(outcome.pictures):
        names.append(f"images/{split}/{number:06d}_{k}{picture.ending}")
        _put(picture, out / names[-1], getattr(builder.rules, "images", "copy"))
    return {
        "key": candidate.key,
        "number": number,
        "stratum": candidate.stratum,
        "images": names,
        "inputs": outcome.inputs,
        "row": row_of(outcome.sample),
    }


def _put(picture: Picture, target: Path, way: str) -> None:
    """Write, copy or link one image."""
    if isinstance(picture.content, bytes):
        write(target, picture.content)
    elif way == "link":
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(picture.content.resolve(), target)
        except OSError as error:
            raise UserError(
                f"expected to link images, got: {error.strerror or error}, at {str(target)!r}; "
                "fix: build on the file system of the data set, or with images=copy"
            ) from error
    else:
        write(target, picture.content.read_bytes())


def _require_enough(done: Split, size: int | None, builder: Builder) -> None:
    """A split of another size than asked for would be another experiment."""
    made = len(done.entries)
    if made == size or (size is None and made):
        return
    fix = f"{done.name}={made} takes what there is" if made else "check the folder"
    raise RecordError(
        f"expected {'some' if size is None else size} records of {builder.name}, got {made} from "
        f"{done.candidates} candidates (rejected: {by_rule(done.rejected) or 'none'}), "
        f"at the split {done.name}; fix: {fix}, or change the rules"
    )


def by_rule(rejected: Mapping[str, int]) -> str:
    """Write counts by rule as "crowd 3, thin 1", the largest first."""
    ordered = sorted(rejected.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{rule} {count}" for rule, count in ordered)
