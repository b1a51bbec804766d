"""Where text, images and new tokens stand in the two turns of a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latentvr.attention.roles import Role
from latentvr.data.record import Record
from latentvr.errors import RecordError


@dataclass(frozen=True)
class NewToken:
    """A token that the method adds to the vocabulary; its embedding row trains.

    Attributes:
        text: how it is written, for example `<|latent_0|>`.
        init_std: standard deviation of its row at the start.
        role: the role of its occurrences; None keeps the role of the text around it (markers).
        sampled: whether decoding may write it.
    """

    text: str
    init_std: float = 0.02
    role: Role | None = Role.LATENT
    sampled: bool = False


@dataclass(frozen=True)
class Segment:
    """A piece of a turn.

    Attributes:
        kind: "text", "image" or "tokens" (new tokens of the method).
        text: the text, or the tokens written one after another.
        image: index into the record's images.
        role: role of an image's visual tokens.
    """

    kind: Literal["text", "image", "tokens"]
    text: str = ""
    image: int = 0
    role: Role = Role.IMAGE


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
