"""What a harness asks, as one prompt with its images; and what the model wrote, as a harness scores it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from latentvr.data.images import decode_image, open_image
from latentvr.errors import RecordError
from latentvr.evaluation.extract import unwrapped

_MARK = "<image>"
Part = tuple[str, Any]


@dataclass(frozen=True)
class Question:
    """One user turn.

    Attributes:
        prompt: its text, with `<image>` where each image goes.
        images: RGB, in the order of the marks; they are never put together into one picture.
        where: what errors name as its place.
    """

    prompt: str
    images: tuple[Image.Image, ...]
    where: str


def parts_of(messages: Iterable[Mapping[str, Any]], where: str) -> Iterator[Part]:
    """Give the parts of chat messages, all of which have to be the user's.

    Args:
        messages: each with `role` and `content`: a text, or parts with `type` and a value under `text`, or
            under `url`, or under the type's name.
        where: what errors name as the place.

    Yields:
        Part: kind ("text", "image", ...) and value.

    Raises:
        RecordError: a turn of the system or of the assistant, which one question has no room for.
    """
    for message in messages:
        if message["role"] != "user":
            raise RecordError(
                f"expected the user's turn alone, got one of the {message['role']}, at {where}; "
                "fix: leave out system prompts and examples in turns of their own"
            )
        content = message["content"]
        if isinstance(content, str):
            yield "text", content
            continue
        for part in content:
            kind = str(part["type"])
            value = part["text"] if kind == "text" else part.get("url", part.get(kind))
            yield kind, value


def question(parts: Iterable[Part], where: str) -> Question:
    """Join parts to one prompt with a mark for each image.

    Texts that hold `<image>` themselves say with it where images go, where there is a mark for each image and
    the harness has put all images first.

    Args:
        parts: kind, "text" or "image", and value: a text; an image of Pillow, its bytes, or its local path.
        where: what errors name as the place.

    Returns:
        The question.

    Raises:
        RecordError: a part is neither text nor image, or marks in the text contradict the images.
        ImageError: an image file is missing, unsafe or damaged.
    """
    prompt: list[str] = []
    texts: list[str] = []
    images: list[Image.Image] = []
    images_first = True
    for kind, value in parts:
        if kind == "text":
            texts.append(str(value))
            prompt.append(str(value))
        elif kind == "image":
            images_first = images_first and not texts
            images.append(picture(value, f"{where}, image {len(images) + 1}"))
            prompt.append(_MARK)
        else:
            raise RecordError(
                f"expected texts and images, got a part of type {kind!r}, at {where}; fix: leave the task out"
            )
    own = "".join(texts).count(_MARK)
    if own and not (images_first and own == len(images)):
        raise RecordError(
            f"expected no {_MARK} in the text, or one for each image after them, got {own} beside "
            f"{len(images)} images, at {where}; fix: take them out of the text"
        )
    return Question("".join(texts if own else prompt), tuple(images), where)


def picture(value: Any, where: str) -> Image.Image:
    """Open an image as a harness hands it over.

    Args:
        value: an image of Pillow, the bytes of a file, `{"bytes": ..., "path": ...}`, or a local path.
        where: what errors name as the place.

    Returns:
        The picture as RGB.

    Raises:
        RecordError: none of these, or an address on the network.
        ImageError: the file is missing, unsafe or damaged.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, Image.Image):
        return value.convert("RGB")
    if isinstance(value, bytes):
        return decode_image(value, where)
    if isinstance(value, str | Path) and "://" not in str(value) and not str(value).startswith("data:"):
        file = Path(value).resolve()
        return open_image(file.name, file.parent, where)
    raise RecordError(
        f"expected an image or a local file, got {str(value)[:80]!r}, at {where}; fix: download it first"
    )


def reply(text: str, new_tokens: Sequence[str] = (), stops: Sequence[str] = ()) -> str:
    """Turn what the model wrote into what a harness scores.

    Harnesses take the first letter, or the whole text, for the answer: markers of latent spans and the
    wrapping `<answer> ... </answer>` would be taken for it.

    Args:
        text: decoded without special tokens.
        new_tokens: the method's tokens, which a published tokenizer may not know as special.
        stops: the text ends before the first of these. Those that are white space count in the answer alone:
            the line break before `<answer>` is no end.

    Returns:
        The answer, without white space around it.
    """
    for stop in stops:
        if stop.strip():
            text = text.partition(stop)[0]
    for token in new_tokens:
        text = text.replace(token, "")
    text = unwrapped(text).strip()
    for stop in stops:
        if not stop.strip() and stop:
            text = text.partition(stop)[0]
    return text.strip()
