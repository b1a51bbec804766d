"""Where text, images and new tokens stand in the two turns of a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latentvr.attention.roles import Role
from latentvr.data.record import Box, Record
from latentvr.errors import RecordError


@dataclass(frozen=True)
class NewToken:
    """A token that the method adds to the vocabulary; its embedding row trains.

    Attributes:
        text: how it is written, for example `<|latent_0|>`.
        init_std: standard deviation of its row at the start.
        role: the role of its occurrences; None keeps the role of the text around it (markers).
        sampled: whether the model writes it: it has a label in the answer, and decoding may choose it.
        slot: whether its occurrences are latent slots; False for a marker that shares their sight.
    """

    text: str
    init_std: float = 0.02
    role: Role | None = Role.LATENT
    sampled: bool = False
    slot: bool = True


@dataclass(frozen=True)
class Region:
    """The visual tokens that a run of latent slots refers to.

    Attributes:
        box: the part of an image.
        source: `input`: tokens of the image as it stands in the prompt; `original`: of the same image before
            anything was painted over, which is then encoded beside the prompt; `crop`: of the part cut out
            and encoded as a picture of its own.
        pool: number of slots, each the mean of a run of tokens; None gives a slot to each token.
    """

    box: Box
    source: Literal["input", "original", "crop"] = "input"
    pool: int | None = None


@dataclass(frozen=True)
class Segment:
    """A piece of a turn.

    Attributes:
        kind: "text", "image", "tokens" (new tokens of the method) or "slots" (a new token as often as its
            region asks for).
        text: the text, or the tokens written one after another, or the one token of the slots.
        image: index into the record's images.
        role: role of an image's visual tokens.
        hidden: parts of an image that are painted over before it is encoded.
        region: what slots refer to.
    """

    kind: Literal["text", "image", "tokens", "slots"]
    text: str = ""
    image: int = 0
    role: Role = Role.IMAGE
    hidden: tuple[Box, ...] = ()
    region: Region | None = None


@dataclass(frozen=True)
class Layout:
    """The two turns of a sample: what the user gives and what the assistant answers."""

    user: tuple[Segment, ...]
    answer: tuple[Segment, ...]


def user_segments(record: Record) -> tuple[Segment, ...]:
    """The user turn without latents: images at their `<image>` marks, unmarked ones first.

    Args:
        record: its prompt and the number of its images count.

    Returns:
        The user's turn, without empty texts.

    Raises:
        RecordError: there are more marks than images.
    """
    parts = record.prompt.split("<image>")
    unmarked = len(record.images) - (len(parts) - 1)
    if unmarked < 0:
        raise RecordError(
            f"expected at most {len(record.images)} <image> marks, got {len(parts) - 1}, "
            f"at record {record.id!r}; fix: give an image for each mark"
        )
    out = [Segment("image", image=i) for i in range(unmarked)]
    for i, part in enumerate(parts):
        if i:
            out.append(Segment("image", image=unmarked + i - 1))
        if part:
            out.append(Segment("text", part))
    return tuple(out)


def plain_layout(record: Record) -> Layout:
    """Images and prompt, then the answer: the layout without latents."""
    return Layout(user_segments(record), (Segment("text", record.answer),))
