"""What art style and visual similarity share: a reference, and two others of which one is the answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from latentvr.data.builders.against_blink import AgainstBlink
from latentvr.data.builders.builder import Candidate, Generator, Rejection, Sample
from latentvr.data.builders.pictures import open_file
from latentvr.data.builders.prompts import options, prompt, question
from latentvr.data.images import FORMATS
from latentvr.errors import ImageError


class OneOfTwo(AgainstBlink):
    """A builder whose candidates' facts name three files below the root.

    Attributes:
        others: keys of the two others in the facts, beside "reference".
    """

    others: ClassVar[tuple[str, str]]

    @abstractmethod
    def right(self, facts: Mapping[str, Any]) -> str:
        """Which of `others` is the answer."""

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:  # noqa: ARG002
        """Show the reference, then the two others in a drawn order."""
        facts = candidate.facts
        order = list(self.others if rng.random() < 0.5 else reversed(self.others))
        paths = [self.root / facts[part] for part in ("reference", *order)]
        try:
            pictures = [open_file(path, self.root, FORMATS, upright=True) for path in paths]
        except ImageError:
            return Rejection("unreadable_image")
        if self.duplicates is not None and (duplicate := self.duplicates.rejection(pictures)):
            return duplicate
        return Sample(
            prompt=prompt(self.task),
            question=question(self.task),
            choices=options(self.task),
            answer="AB"[order.index(self.right(facts))],
            answer_type="mcq",
            images=tuple(paths),
            inputs=tuple(paths),
            meta={"source": facts["reference"], **facts},
        )
