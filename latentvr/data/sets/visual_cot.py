"""Visual CoT (deepcs233/Visual-CoT): questions with regions of interest.

`metadata/<set>_cot_train.jsonl`, one file for each of twelve data sets, or `viscot_363k.json`, conversations
of four turns with one box that encloses all. Boxes are in pixels. Images are below `cot/<set>/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from latentvr.data.readers.fields import MARK, shown, wrong
from latentvr.data.readers.strict_json import json_list
from latentvr.data.sets.lines import published_lines
from latentvr.data.sets.placed import placed

DATASETS = (
    "cub", "docvqa", "dude", "flickr30k", "gqa", "infographicsvqa", "openimages", "sroie", "textcap",
    "textvqa", "visual7w", "vsr",
)  # fmt: skip
FORMS = ("metadata", "conversations")
CONVERSATIONS = "viscot_363k.json"
#: Folders of images by data set, where they are called otherwise; several are looked in one after another.
_FOLDERS = {"textcap": ("textvqa", "textcap"), "visual7w": ("v7w", "visual7w"), "v7w": ("v7w", "visual7w")}
_PARENTS = ("cot", "viscot", "images", "")
_BOX = re.compile(r"###\s*(\[[^\]]*\])\s*$")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_REQUEST = "Please provide the bounding box coordinate of the region"


@dataclass(frozen=True)
class VisualCotRow:
    """A row.

    Attributes:
        key: file and number of the row.
        dataset: the data set that it comes from.
        question: as the file has it, without image marks and without the request for a box.
        answer: as the file has it; None where it is no text and no number.
        image: name as the file has it, without a box behind it.
        size: width and height that the row names, in pixels; None where it names none.
        boxes: lists of four numbers, x0, y0, x1, y1 in pixels; None where they have another form.
    """

    key: str
    dataset: str
    question: str
    answer: str | None
    image: str
    size: tuple[int, int] | None
    boxes: list[list[float]] | None


def tables(root: Path, form: str = "", datasets: Sequence[str] = ()) -> list[Path]:
    """Find the files of rows.

    Args:
        root: the data set's folder.
        form: of `FORMS`; "" takes the metadata where there are some.
        datasets: names of `DATASETS`; empty takes all that there are. Conversations name them row by row.

    Returns:
        The files, in the order of their names.

    Raises:
        RecordError: one that is named is not there, or there is none at all.
    """
    names = [f"{name}_cot_train.jsonl" for name in datasets or DATASETS]
    found = [
        path
        for name in names
        for path in [next((p for p in (root / "metadata" / name, root / name) if p.is_file()), None)]
        if path is not None
    ]
    if form != "conversations" and (found or form == "metadata"):
        if not found or (datasets and len(found) != len(names)):
            there = {path.name for path in found}
            expected = ", ".join(name for name in names if name not in there) if datasets else names[0]
            raise wrong(f"{expected} in metadata", "none", root, "copy the folder metadata, or name others")
        return found
    if (root / CONVERSATIONS).is_file():
        return [root / CONVERSATIONS]
    raise wrong(f"a folder metadata or {CONVERSATIONS}", "neither", root, "name the folder that holds it")


def rows(file: Path) -> Iterator[VisualCotRow]:
    """Read a file row by row.

    Args:
        file: of `tables`.

    Yields:
        VisualCotRow: each row.

    Raises:
        RecordError: a row has another form.
    """
    flat = file.suffix == ".jsonl"
    for number, value in (published_lines if flat else json_list)(file, file.name):
        where = f"{file.name} row {number}"
        if not isinstance(value, dict):
            raise wrong("a JSON object", type(value).__name__, where, "download the file again")
        key = f"{file.stem}/{number:06d}"
        yield _flat(value, key, where) if flat else _conversation(value, key, where)


def picture(root: Path, row_dataset: str, name: str) -> Path | None:
    """Find the image of a row; images of textcap lie with those of textvqa, those of visual7w in v7w.

    Args:
        root: the data set's folder.
        row_dataset: `VisualCotRow.dataset`.
        name: `VisualCotRow.image`.

    Returns:
        The file, or None.
    """
    named = PurePosixPath(name).parts
    for parent in _PARENTS:
        for folder in _FOLDERS.get(row_dataset, (row_dataset,)):
            found = placed(name, [root / parent / folder])
            if found is not None:
                return found
    return placed(name, [root]) if len(named) > 1 else None


def _flat(value: Mapping[str, Any], key: str, where: str) -> VisualCotRow:
    dataset, question, image = (value.get(name) for name in ("dataset", "question", "image"))
    if not isinstance(dataset, str) or not isinstance(question, str) or not isinstance(image, str):
        expected = "the texts dataset, question and image"
        raise wrong(expected, shown(sorted(value)), where, "download the file again")
    sides = (value.get("width"), value.get("height"))
    known = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides)
    return VisualCotRow(
        key=key,
        dataset=dataset,
        question=question.replace(MARK, "").strip(),
        answer=_answer(value.get("answer")),
        image=image,
        size=(int(sides[0] or 0), int(sides[1] or 0)) if known else None,
        boxes=_boxes(value.get("bboxs", value.get("bboxes"))),
    )


def _answer(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else None


def _boxes(value: object) -> list[list[float]] | None:
    if not isinstance(value, list):
        return None
    plain = [value] if value and all(isinstance(number, int | float) for number in value) else value
    if all(
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(number, int | float) and not isinstance(number, bool) for number in box)
        for box in plain
    ):
        return [[float(number) for number in box] for box in plain]
    return None


def _conversation(value: Mapping[str, Any], key: str, where: str) -> VisualCotRow:
    turns, images = value.get("conversations"), value.get("image")
    said = [turn.get("value") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    texts = [text for text in said if isinstance(text, str)]
    if len(said) != 4 or len(texts) != 4:
        raise wrong("four turns of a conversation", shown(turns), where, "download the file again")
    if not isinstance(images, list) or not images or not all(isinstance(name, str) for name in images):
        raise wrong("a list of image names", shown(images), where, "download the file again")
    found = _BOX.search(images[-1])
    box = [float(number) for number in _NUMBER.findall(found[1])] if found else []
    name = PurePosixPath(images[0])
    dataset = value.get("dataset")
    question = texts[0].replace(MARK, "").partition(_REQUEST)[0]
    return VisualCotRow(
        key=key,
        dataset=dataset if isinstance(dataset, str) and dataset else _dataset(name),
        question=question.strip(),
        answer=_answer(texts[3]),
        image=str(name),
        size=None,
        boxes=_boxes([box]) if found else [],
    )


def _dataset(image: PurePosixPath) -> str:
    """The data set of an image, such as cub of "cot/cub/001.Albatross/1.jpg"."""
    folders = image.parts[:-1]
    behind = folders[folders.index("cot") + 1 :] if "cot" in folders else ()
    return behind[0] if behind else image.parent.name
