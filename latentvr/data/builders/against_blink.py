"""The pictures of a BLINK sub-task as the references that a builder's pictures must not repeat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from latentvr.data.builders.builder import Builder
from latentvr.data.builders.duplicates import DuplicateRules, Duplicates
from latentvr.data.images import decode_image
from latentvr.data.sets import blink
from latentvr.errors import UserError


def against_blink(
    rules: DuplicateRules, sub_task: str, builder: str, also_blurred: bool = False
) -> Duplicates | None:
    """Read the validation pictures of a sub-task, which is what the papers test on.

    Args:
        rules: of the builder.
        sub_task: BLINK's name of it, such as "Art_Style".
        builder: name of the builder, for errors.
        also_blurred: compare as blurred grey pictures too.

    Returns:
        What finds duplicates of them, each called by the row's "idx", "#" and the number of the picture from
        0 on; None where the rules are not to look for any.

    Raises:
        UserError: BLINK is not given, or it, the CLIP folder or a package that compares cannot be used.
    """
    if rules.dedup == "off":
        return None
    if not rules.blink:
        raise UserError(
            f"expected BLINK, whose pictures the records must not repeat, got none, "
            f"at latentvr data build {builder}; fix: blink=DIR, or dedup=off"
        )
    return Duplicates(_references(Path(rules.blink), sub_task), rules, also_blurred)


class AgainstBlink(Builder):
    """A builder whose records must not repeat pictures of its BLINK sub-task.

    Attributes:
        also_blurred: whether pictures are compared as blurred grey ones too.
    """

    also_blurred: ClassVar[bool] = False

    def notes(self) -> Mapping[str, Any]:
        """What was compared for duplicates."""
        return {"duplicates": self.duplicates.notes() if self.duplicates else "not looked for"}

    @cached_property
    def duplicates(self) -> Duplicates | None:
        """Pictures of the test that must not come back, or None where they are not looked for.

        `candidates` asks for it first, so that a missing BLINK is an error at once and not in a worker.
        """
        return against_blink(self.rules, self.task, self.name, self.also_blurred)


def _references(path: Path, sub_task: str) -> Iterator[tuple[str, Image.Image]]:
    for row in blink.rows(path, sub_task):
        for number, data in enumerate(row.images):
            yield f"{row.idx}#{number}", decode_image(data, row.where)
