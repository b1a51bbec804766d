"""What a builder is: it lists candidates, and makes a sample of one or says which rule rejects it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
from PIL import Image

from latentvr.data.builders.rules import Rules
from latentvr.data.record import AnswerType, Box

Generator = np.random.Generator


@dataclass(frozen=True)
class Candidate:
    """Something that a record may be made of.

    Attributes:
        key: unique in its split; with the seed it decides every draw of `Builder.make`.
        facts: what `make` needs, of JSON types: it crosses the border between processes.
        stratum: name of the share of the split that it counts for; "" where there are no shares.
    """

    key: str
    facts: dict[str, Any]
    stratum: str = ""


@dataclass(frozen=True)
class Listing:
    """All candidates of a split.

    Attributes:
        candidates: in any order that is the same on every machine; the run shuffles them.
        rejected: how many others no file had to be opened for, by the name of the rule.
    """

    candidates: Sequence[Candidate]
    rejected: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def sorted_out(cls, found: Iterable[tuple[str, dict[str, Any] | str]]) -> Listing:
        """Make candidates of facts, and count the rules that stand in their place.

        Args:
            found: key, and the facts or the name of the rule that rejects.

        Returns:
            The listing.
        """
        listed, rejected = [], Counter[str]()
        for key, facts in found:
            if isinstance(facts, str):
                rejected[facts] += 1
            else:
                listed.append(Candidate(key, facts))
        return cls(listed, rejected)


@dataclass(frozen=True)
class Rejection:
    """A candidate that no record is made of.

    Attributes:
        rule: short name of the rule, counted in the manifest, such as "crowd" or "duplicate".
        detail: of a duplicate: what it is a duplicate of, and by which figures; JSON values.
    """

    rule: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """A record in the making; id, split and names of images are given when it is written.

    Attributes:
        prompt: the whole text shown to the model.
        answer: as the model should write it: a bare letter, a number, a text.
        answer_type: how it is compared.
        images: in prompt order; a picture is written as PNG, the path of a file below the root of the data
            set is copied byte for byte, bytes are written as they are with the ending of their format.
        inputs: files that it was made of, below the root of the data set; their hashes go to the manifest.
        question: the bare question, without choices.
        choices: texts of the options.
        label: what the manifest counts; the answer by default.
        bboxes: regions of interest, normalised.
        response: the assistant's whole turn, where it is more than the answer.
        task: where a builder makes records of several tasks; that of the builder by default.
        meta: where it comes from: at least "source"; JSON values.
    """

    prompt: str
    answer: str
    answer_type: AnswerType
    images: tuple[Image.Image | Path | bytes, ...]
    inputs: tuple[Path, ...]
    question: str = ""
    choices: tuple[str, ...] = ()
    label: str = ""
    bboxes: tuple[Box, ...] = ()
    response: str = ""
    task: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


class Builder(ABC):
    """Makes the records of one task out of one data set's folder.

    An instance is made in every worker process from the same arguments. `candidates` runs once, in the
    main process; `make` runs anywhere, in any order, and must depend on its arguments alone.

    Args:
        root: the data set's folder.
        rules: the parameters, of `rules_type`.
        seed: of all draws.

    Attributes:
        name: as the command line calls it.
        task: `Record.task`, BLINK's name of the sub-task where there is one.
        source: the data set and its address.
        licence: of the data set, in a few words.
        rules_type: class of the parameters.
        splits: that can be made, in this order.
    """

    name: ClassVar[str]
    task: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    rules_type: ClassVar[type[Rules]]
    splits: ClassVar[tuple[str, ...]]

    def __init__(self, root: Path, rules: Any, seed: int) -> None:
        self.root = root
        self.rules = rules
        self.seed = seed

    @abstractmethod
    def candidates(self, split: str) -> Listing:
        """List what the records of a split can be made of; reads tables, opens no image."""

    @abstractmethod
    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:
        """Make a sample, or name the first rule that rejects the candidate.

        Args:
            split: that the candidate was listed for.
            candidate: one of them.
            rng: the candidate's own stream of draws, the same on every machine.

        Returns:
            The sample, or the rule that rejects it.
        """

    def size(self, split: str) -> int | None:
        """How many records the split shall have: the rule of its name, None for as many as there are.

        Where the rules have a `validation_share` and it is 0, nothing is held out and validation has none.
        """
        if split == "validation" and not getattr(self.rules, "validation_share", 1):
            return 0
        size: int | None = getattr(self.rules, split)
        return size

    def shares(self, split: str) -> Mapping[str, float] | None:  # noqa: ARG002 - for those that have shares
        """Wanted share of each stratum; None means equal shares of all strata that are listed."""
        return None

    def tables(self) -> Iterable[Path]:
        """Files that the listing read; their hashes go to the manifest, and a restart compares them."""
        return ()

    def notes(self) -> Mapping[str, Any]:
        """More facts for the manifest, such as what duplicates were looked for in; JSON values."""
        return {}

    def draws(self, *words: str) -> Generator:
        """A stream of draws that depends on the seed and on these words alone."""
        return np.random.default_rng([self.seed, crc32("/".join((self.name, *words)).encode())])
