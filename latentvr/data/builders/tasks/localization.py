"""Object localisation from COCO: which of two boxes encloses the object?

Boxes are (x0, y0, x1, y1) in stored pixels, as COCO's annotations are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentvr.data.builders.against_blink import AgainstBlink
from latentvr.data.builders.builder import Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.drawing import Rect, boxes
from latentvr.data.builders.duplicates import DuplicateRules
from latentvr.data.builders.pictures import opened
from latentvr.data.builders.prompts import options, prompt, question
from latentvr.data.builders.rules import rule
from latentvr.data.record import Box
from latentvr.data.sets import coco
from latentvr.errors import UserError


@dataclass(frozen=True)
class LocalizationRules(DuplicateRules):
    """Parameters of `Localization`."""

    train: int | None = rule(1000, "paper", "records of training")
    validation: int | None = rule(250, "paper", "records of validation")
    min_share: float = rule(0.15, "paper", "smallest area of the box as a share of the picture", 0, 1)
    max_share: float = rule(0.5, "paper", "largest area of the box as a share of the picture", 0, 1)
    min_fill: float = rule(0.6, "paper", "smallest area of the mask as a share of the box", 0, 1)
    min_iou: float = rule(0.2, "paper", "smallest overlap (IoU) of the wrong box with the right one", 0, 1)
    max_iou: float = rule(0.5, "paper", "largest overlap (IoU) of the wrong box with the right one", 0, 1)
    # Lower than elsewhere: boxes are drawn on BLINK's pictures (figures in `duplicates`).
    min_ssim: float = rule(
        0.85, "not in the paper", "smallest SSIM of a duplicate; low, as BLINK's pictures bear boxes", -1, 1
    )
    jitter: float = rule(
        0.6,
        "not in the paper",
        "largest shift of a side, as a share of the box's width or height; the box is cut off at the frame, "
        "touches the same sides of it as the right box, and is larger or smaller than that by a coin",
        0.01,
        10,
    )
    tries: int = rule(1000, "not in the paper", "draws of a wrong box before it is given up", low=1)
    slack: float = rule(
        1.0, "not in the paper", "how far a box may reach out of the picture, in pixels; it is cut off", low=0
    )
    per_image: int | None = rule(
        1, "not in the paper", "most records of a picture, of objects drawn at random", low=1
    )
    line: int = rule(3, "not in the paper", "width of a box's line, in pixels", low=1)
    colours: str = rule(
        "red blue",
        "not in the paper",
        "colours of box A and box B",
        one_of=("red blue", "red green", "red red", "red yellow", "blue yellow"),
    )


class Localization(AgainstBlink):
    """Two boxes on a picture, of which one is an object's (arXiv 2512.21218, appendix A).

    Every picture is used in one split only, and by default for one record.
    """

    name = "localization"
    task = "Object_Localization"
    source = coco.SOURCE
    licence = coco.LICENCE
    rules_type = LocalizationRules
    splits = tuple(coco.FOLDERS)
    # BLINK's pictures bear boxes and letters; blurred, they are compared by what lies beneath.
    also_blurred = True
    rules: LocalizationRules

    def __init__(self, root: Path, rules: LocalizationRules, seed: int) -> None:
        super().__init__(root, rules, seed)
        for low, high in (("min_share", "max_share"), ("min_iou", "max_iou")):
            if getattr(rules, low) > getattr(rules, high):
                raise UserError(
                    f"expected {low} below {high}, got {low}={getattr(rules, low)} and "
                    f"{high}={getattr(rules, high)}, at latentvr data build localization; fix: raise {high}"
                )

    def candidates(self, split: str) -> Listing:
        """List the objects whose annotation passes the rules, at most `per_image` of a picture."""
        _ = self.duplicates
        present = set(coco.pictures(self.root, split))
        used = set() if split == "train" else set(coco.pictures(self.root, "train"))
        found, unknown = coco.objects(self.root, split)
        rejected, good = Counter({"unknown_image": unknown}), []
        for one in found:
            name = Path(one.file).name
            reason = self._unusable(one) or _absent(name, present, used)
            if reason:
                rejected[reason] += 1
            else:
                good.append(one)
        listed: list[Candidate] = []
        for file, group in groupby(sorted(good, key=lambda one: (one.file, one.id)), lambda one: one.file):
            listed += self._drawn(file, list(group), split)
        rejected["other_object_drawn"] = len(good) - len(listed)
        return Listing(listed, +rejected)

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:
        """Draw the object's box and a wrong one, lettered at random."""
        facts, inside = candidate.facts, coco.folder(self.root, split)
        file = self.root / facts["file"]
        found = opened([file], inside)
        if isinstance(found, Rejection):
            return found
        picture = found[0]
        if picture.size != tuple(facts["size"]):
            return Rejection("size")
        if self.duplicates is not None and (duplicate := self.duplicates.rejection([picture])):
            return duplicate
        truth = _cut_off(facts["box"], picture.size)
        wrong = self._distractor(truth, picture.size, rng)
        if wrong is None:
            return Rejection("no_distractor")
        return self._sample(picture, file, facts, (truth, wrong), int(rng.integers(2)))

    def tables(self) -> Iterable[Path]:
        """The annotations of the splits that are on the disk."""
        files = (coco.table_path(self.root, split) for split in self.splits)
        return [file for file in files if file.is_file()]

    def _unusable(self, one: coco.CocoObject) -> str:
        """Name the first rule that rejects an annotation, "" if none does."""
        rules, (x0, y0, x1, y1), (width, height) = self.rules, one.box, one.size
        area = (x1 - x0) * (y1 - y0)
        checks = (
            ("crowd", one.crowd),
            # Written so that a NaN fails.
            ("empty_box", not (x1 > x0 and y1 > y0)),
            ("box_outside", not (min(x0, y0, width - x1, height - y1) >= -rules.slack)),
            ("too_small", area < rules.min_share * width * height),
            ("too_big", area > rules.max_share * width * height),
            ("thin_mask", one.area < rules.min_fill * area),
        )
        return next((name for name, failed in checks if failed), "")

    def _drawn(self, file: str, group: list[coco.CocoObject], split: str) -> list[Candidate]:
        """Candidates of one picture's objects, which are drawn by the picture alone."""
        order = self.draws("objects", split, file).permutation(len(group))[: self.rules.per_image]
        return [Candidate(f"{Path(file).stem}-{group[k].id}", asdict(group[k])) for k in sorted(order)]

    def _distractor(self, truth: Rect, picture: tuple[int, int], rng: Generator) -> Rect | None:
        """Shift the corners until the box, cut off at the frame, overlaps the truth as much as it shall.

        The picture alone must not tell the wrong box. Both boxes touch the same sides of the frame, and a
        coin says which one is larger; where no draw obeys it, as with a box that reaches over most of the
        picture, the first that fits otherwise is taken.
        """
        larger, spare = bool(rng.integers(2)), None
        width, height = truth[2] - truth[0], truth[3] - truth[1]
        reach = self.rules.jitter * np.array([width, height, width, height])
        at_frame = _at_frame(truth, picture)
        for shift in reach * rng.uniform(-1, 1, (self.rules.tries, 4)):
            # Rounded before it is judged: the record says what was judged.
            box = _cut_off(np.array(truth) + shift, picture)
            if not (box[0] < box[2] and box[1] < box[3]) or _at_frame(box, picture) != at_frame:
                continue
            # Where both touch the frame, not even a part of a pixel is between them.
            x0, y0, x1, y1 = (
                own if touching else new for own, new, touching in zip(truth, box, at_frame, strict=True)
            )
            if not self.rules.min_iou <= _iou(truth, (x0, y0, x1, y1)) <= self.rules.max_iou:
                continue
            if ((x1 - x0) * (y1 - y0) > width * height) == larger:
                return x0, y0, x1, y1
            spare = spare or (x0, y0, x1, y1)
        return spare

    def _sample(
        self, picture: Image.Image, file: Path, facts: Mapping[str, Any], pair: tuple[Rect, Rect], letter: int
    ) -> Sample:
        truth, wrong = pair
        shown = pair if letter == 0 else (wrong, truth)
        (x0, y0, x1, y1), (width, height) = truth, picture.size
        return Sample(
            prompt=prompt(self.task, obj=facts["category"]),
            question=question(self.task, obj=facts["category"]),
            choices=options(self.task),
            answer="AB"[letter],
            answer_type="mcq",
            images=(boxes(picture, shown, "AB", self.rules.line, self.rules.colours.split()),),
            inputs=(file,),
            bboxes=(Box(0, (x0 / width, y0 / height, x1 / width, y1 / height)),),
            meta={
                "source": facts["file"],
                "image_id": facts["image_id"],
                "annotation_id": facts["id"],
                "category": facts["category"],
                "gt_box": list(truth),
                "distractor_box": list(wrong),
                "iou": round(_iou(truth, wrong), 4),
            },
        )


def _absent(name: str, present: set[str], used: set[str]) -> str:
    if name not in present:
        return "missing_image"
    return "in_train" if name in used else ""


def _cut_off(box: Iterable[float], picture: tuple[int, int]) -> Rect:
    """The part of a box that lies in the picture."""
    x0, y0, x1, y1 = (round(float(value), 2) for value in box)
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(picture[0])), min(y1, float(picture[1]))


def _at_frame(box: Rect, picture: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
    """Which sides of a box are those of the picture, to a pixel."""
    return box[0] <= 1, box[1] <= 1, box[2] >= picture[0] - 1, box[3] >= picture[1] - 1


def _iou(one: Rect, other: Rect) -> float:
    """Area of the intersection over area of the union."""
    across = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    down = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one, other))
    return across * down / (areas - across * down)
