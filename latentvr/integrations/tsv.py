"""Records as a TSV file of VLMEvalKit, `$LMUData/NAME.tsv`.

VLMEvalKit puts all images before the text and writes the options itself, as "A. ...". It reads the file with
pandas, which turns some texts into numbers or nothing: what would not come back as it was is refused.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from PIL import Image

from latentvr.data.prompt import letters
from latentvr.data.readers.fields import shown
from latentvr.data.record import Record, Source
from latentvr.errors import RecordError, SaveError, UserError
from latentvr.evaluation.extract import expected_answer

_PICTURES = ("image", "image_path")


def write_tsv(source: Source, path: Path, images: Literal["inside", "beside"] = "inside") -> int:
    """Write all records of a source.

    Columns: index, id, question, A, B and so on, answer, category (the task), image_path, and image. Images
    are PNG, without loss: as base64 inside the file, or as files in a folder beside it, named in full. Of
    several images, the cell holds a list.

    Args:
        source: records that all have choices, or none of which has any.
        path: the file, NAME.tsv; the folder beside it is NAME_images.
        images: where the pictures go.

    Returns:
        Number of records written.

    Raises:
        RecordError: no records, records with and without choices, one without images, or a text that pandas
            would change.
        SaveError: the system refused to write there.
    """
    records = list(source.records)
    choices = _number_of_choices(records)
    names = ["index", "id", "question", *letters(choices), "answer", "category", "image_path"]
    names += ["image"] if images == "inside" else []
    folder = path.with_name(f"{path.stem}_images")
    aside = path.with_name(f"{path.name}.partial")
    rows = _rows(source, records, choices, folder if images == "beside" else None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
                writer.writerow(names)
                writer.writerows(rows)
            _require_unchanged(aside, source, records, choices)
        except UserError:
            aside.unlink()
            raise
        aside.replace(path)
    except OSError as error:
        raise SaveError(
            f"expected to write {path.name}, got: {error}, at {str(path.parent)!r}; "
            "fix: make room or allow writing"
        ) from error
    return len(records)


def _rows(
    source: Source, records: Sequence[Record], choices: int, folder: Path | None
) -> Iterator[list[str]]:
    """The rows, one after another, so that memory holds one record's pictures."""
    for i, record in enumerate(records):
        pictures = [_png(image) for image in source.images(record)]
        if not pictures:
            raise _error("at least one image", "none", source.where(record), "leave the record out")
        yield [str(i), *_texts(record, choices), *_placed(pictures, str(i), folder)]


def _number_of_choices(records: Sequence[Record]) -> int:
    counts = {len(record.choices) for record in records}
    if not counts:
        raise RecordError("expected records, got none, at the export; fix: choose another split")
    if len(counts) > 1 and 0 in counts:
        raise RecordError(
            "expected records that all have choices, or none that has, got both, at the export; "
            "fix: write each kind to a file of its own"
        )
    return max(counts)


def _texts(record: Record, choices: int) -> list[str]:
    """The cells from `id` to `category`."""
    options = [*record.choices, *[""] * (choices - len(record.choices))]
    answer = expected_answer(record) if record.answer_type == "mcq" else record.answer
    return [record.id, bare_question(record), *options, answer, record.task]


def bare_question(record: Record) -> str:
    """Give a record's question without its options and without marks of images that come first.

    Args:
        record: where it has no bare question, the prompt is cut before its options, if all of them stand
            there one after another with their own texts.

    Returns:
        The text; marks in the midst of it stay, because they say which image is meant.

    Raises:
        RecordError: nothing is left of the text.
    """
    text = record.question or _before_options(record.prompt, record.choices)
    bare = text.strip()
    while bare.startswith("<image>"):
        bare = bare.removeprefix("<image>").lstrip()
    if not bare:
        raise _error(
            "a question", "none beside images and options", f"record {shown(record.id)}", "write one"
        )
    return text.strip() if "<image>" in bare else bare


def _before_options(prompt: str, choices: Sequence[str]) -> str:
    """The text before the options; a line of the question may begin as an option does ("A. Lincoln ...")."""
    if not choices:
        return prompt
    pairs = list(zip(letters(len(choices)), map(re.escape, map(str.strip, choices)), strict=True))
    for mark in (r"\({}\)", r"{}\."):
        listed = r"\s+".join(rf"{mark.format(letter)}\s*{text}" for letter, text in pairs)
        found = re.search(rf"^[ \t]*{listed}[ \t]*$", prompt, re.MULTILINE)
        if found is not None:
            return prompt[: found.start()]
    return prompt


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def _placed(pictures: Sequence[bytes], stem: str, folder: Path | None) -> list[str]:
    """The cells `image_path` and `image`; the pictures themselves where there is a folder.

    Names hold a part of the content's hash: VLMEvalKit keeps pictures that it has unpacked, by name.
    """
    files = [f"{stem}_{i}_{hashlib.sha256(data).hexdigest()[:8]}.png" for i, data in enumerate(pictures)]
    if folder is None:
        return [_cell(files), _cell([base64.b64encode(data).decode() for data in pictures])]
    folder.mkdir(exist_ok=True)
    for name, data in zip(files, pictures, strict=True):
        (folder / name).write_bytes(data)
    return [_cell([str((folder / name).resolve()) for name in files])]


def _cell(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else json.dumps(texts)


def _require_unchanged(file: Path, source: Source, records: Sequence[Record], choices: int) -> None:
    """Read the texts back as VLMEvalKit does and compare."""
    names = ("id", "question", *letters(choices), "answer", "category")
    for record, row in zip(records, _read_back(file), strict=True):
        wanted = dict(zip(names, _texts(record, choices), strict=True))
        for name in names[1:-1]:
            if row[name] != wanted[name]:
                raise _error(
                    "texts that pandas leaves as they are",
                    f"{wanted[name]!r}, which it reads as {row[name]!r}",
                    f"{source.where(record)}, column {name}",
                    "write records with other numbers of options to a file of their own, or change the text",
                )


def _read_back(file: Path) -> Iterator[dict[str, str]]:
    import pandas  # type: ignore[import-untyped]

    frame = pandas.read_csv(file, sep="\t", usecols=lambda name: name not in _PICTURES)
    for _, row in frame.iterrows():
        yield {name: "" if pandas.isna(value) else str(value) for name, value in row.items()}


def _error(expected: str, got: str, where: str, fix: str) -> RecordError:
    return RecordError(f"expected {expected}, got {got}, at {where}; fix: {fix}")
