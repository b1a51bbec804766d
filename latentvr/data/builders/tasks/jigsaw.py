"""Jigsaw from COCO: which of two patches of a photograph fills its black lower right quarter?

Boxes are (x0, y0, x1, y1) in the photograph's stored pixels; x1 and y1 are the first column and row outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from latentvr.data.builders.builder import Builder, Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.pictures import opened
from latentvr.data.builders.prompts import options, prompt, question
from latentvr.data.builders.rules import Rules, rule
from latentvr.data.sets import coco
from latentvr.errors import UserError

Rect = tuple[int, int, int, int]


@dataclass(frozen=True)
class JigsawRules(Rules):
    """Parameters of `Jigsaw`."""

    train: int | None = rule(1000, "paper", "records of training")
    validation: int | None = rule(250, "paper", "records of validation")
    width: int = rule(400, "paper", "width of the canvas in pixels, an even number", low=2)
    min_height: int = rule(
        170,
        "paper",
        "smallest height of the canvas in pixels; only even heights are drawn, for equal quarters",
        low=2,
    )
    max_height: int = rule(230, "paper", "largest height of the canvas in pixels", low=2)
    min_distance: float = rule(
        0.5,
        "not in the paper",
        "smallest distance of the wrong patch's centre from the right one's, as a fraction of the canvas' "
        "shorter side; the paper has a fraction of the canvas size, a third party's reproduction this one",
        low=0,
    )


class Jigsaw(Builder):
    """A photograph without its lower right quarter, that quarter, and another patch of the photograph.

    The rule is that of arXiv 2512.21218, appendix A. Every photograph is used in one split only.
    """

    name = "jigsaw"
    task = "Jigsaw"
    source = coco.SOURCE
    licence = coco.LICENCE
    rules_type = JigsawRules
    splits = tuple(coco.FOLDERS)
    rules: JigsawRules

    def __init__(self, root: Path, rules: JigsawRules, seed: int) -> None:
        super().__init__(root, rules, seed)
        if rules.width % 2:
            raise _wrong("an even width", f"width={rules.width}", f"width={rules.width + 1}")
        # Of two heights that follow one another, one is even.
        self._halves = (rules.min_height + 1) // 2, rules.max_height // 2
        if self._halves[0] > self._halves[1]:
            got = f"min_height={rules.min_height} and max_height={rules.max_height}"
            raise _wrong("an even height from min_height to max_height", got, "raise max_height")

    def candidates(self, split: str) -> Listing:
        """List the photographs on the disk."""
        names = coco.pictures(self.root, split)
        used = set() if split == "train" else set(coco.pictures(self.root, "train"))
        listed = [Candidate(Path(name).stem, {"name": name}) for name in names if name not in used]
        twice = len(names) - len(listed)
        return Listing(listed, {"in_train": twice} if twice else {})

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:
        """Cut a canvas out of the photograph, and a patch that is not its lower right quarter."""
        inside = coco.folder(self.root, split)
        file = inside / candidate.facts["name"]
        found = opened([file], inside)
        if isinstance(found, Rejection):
            return found
        picture = found[0]
        if picture.width < self.rules.width or picture.height < self.rules.max_height:
            return Rejection("too_small")
        canvas = self._canvas(picture.size, rng)
        truth = ((canvas[0] + canvas[2]) // 2, (canvas[1] + canvas[3]) // 2, canvas[2], canvas[3])
        wrong = _distractor(picture.size, canvas, truth, self._least(canvas), rng)
        if wrong is None:
            return Rejection("no_distractor")
        patches = [picture.crop(truth), picture.crop(wrong)]
        if patches[0].tobytes() == patches[1].tobytes():
            return Rejection("same_patches")
        letter = int(rng.integers(2))
        return Sample(
            prompt=prompt(self.task),
            question=question(self.task),
            choices=options(self.task),
            answer="AB"[letter],
            answer_type="mcq",
            images=(_without(picture, canvas, truth), patches[letter], patches[1 - letter]),
            inputs=(file,),
            meta={
                "source": f"{inside.name}/{file.name}",
                "canvas_box": list(canvas),
                "gt_box": list(truth),
                "distractor_box": list(wrong),
            },
        )

    def _canvas(self, picture: tuple[int, int], rng: Generator) -> Rect:
        """Draw an even height, then a place; all heights and all places are alike likely."""
        width, height = self.rules.width, 2 * int(rng.integers(self._halves[0], self._halves[1] + 1))
        x, y = (
            int(rng.integers(whole - side + 1)) for whole, side in zip(picture, (width, height), strict=True)
        )
        return x, y, x + width, y + height

    def _least(self, canvas: Rect) -> float:
        """Smallest distance of the patches' centres, in pixels."""
        return self.rules.min_distance * min(canvas[2] - canvas[0], canvas[3] - canvas[1])


def _distractor(
    picture: tuple[int, int], canvas: Rect, truth: Rect, least: float, rng: Generator
) -> Rect | None:
    """Draw a box of the truth's size among all that meet the canvas, miss the truth and are far enough."""
    (xs, apart_x), (ys, apart_y) = (_places(picture[k], canvas[k::2], truth[k::2]) for k in (0, 1))
    far = np.hypot((ys - truth[1])[:, None], xs - truth[0]) >= least
    allowed = np.flatnonzero(far & (apart_y[:, None] | apart_x))
    if not len(allowed):
        return None
    row, column = divmod(int(allowed[rng.integers(len(allowed))]), len(xs))
    x, y = int(xs[column]), int(ys[row])
    return x, y, x + truth[2] - truth[0], y + truth[3] - truth[1]


def _places(whole: int, canvas: tuple[int, ...], truth: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis: starts in the picture that meet the canvas, and which of them miss the truth."""
    side = truth[1] - truth[0]
    starts = np.arange(max(0, canvas[0] - side + 1), min(whole - side, canvas[1] - 1) + 1)
    # Nothing that meets the canvas lies behind the truth: both end at the same place.
    return starts, starts + side <= truth[0]


def _without(picture: Image.Image, canvas: Rect, truth: Rect) -> Image.Image:
    """The canvas, its quarter black."""
    shown = picture.crop(canvas)
    quarter = (truth[0] - canvas[0], truth[1] - canvas[1], shown.width, shown.height)
    shown.paste((0, 0, 0), quarter)
    return shown


def _wrong(expected: str, got: str, fix: str) -> UserError:
    return UserError(f"expected {expected}, got {got}, at latentvr data build jigsaw; fix: {fix}")
