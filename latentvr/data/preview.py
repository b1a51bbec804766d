"""Samples as the model gets them: every token with its role, and what the loss wants.

Text of records is shown as text: terminal escapes are taken out, HTML is escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from latentvr.attention.roles import Role
from latentvr.data.encode import IGNORED, EncodedSample
from latentvr.data.picture import data_uri, displayed, png, with_boxes
from latentvr.data.printable import printable
from latentvr.data.processor import IMAGE_TOKEN
from latentvr.data.record import Record

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from latentvr.data.dataset import EncodedDataset

_TEMPLATES = Path(__file__).parent / "templates"
_LONGEST_LATENT_RUN = 4
_STYLES = {
    Role.PAD: "bright_black",
    Role.IMAGE: "magenta",
    Role.PROMPT: "default",
    Role.LATENT: "bold cyan",
    Role.ANSWER: "bold green",
}


@dataclass(frozen=True)
class Shown:
    """A sample and what it was made of.

    Attributes:
        record: the record.
        images: its images, in prompt order.
        sample: its tokens.
    """

    record: Record
    images: Sequence[Image.Image]
    sample: EncodedSample


@dataclass(frozen=True)
class Piece:
    """A run of tokens that are alike.

    Attributes:
        role: their role.
        text: what they say; visual tokens and long runs of latents are summed up in brackets.
        tokens: how many.
        labelled: whether the loss wants them.
    """

    role: Role
    text: str
    tokens: int
    labelled: bool


def shown(dataset: EncodedDataset, indices: Iterable[int]) -> list[Shown]:
    """Take samples out of a dataset to be shown."""
    records, images = dataset.source.records, dataset.source.images
    return [Shown(records[i], images(records[i]), dataset[i]) for i in indices]


def pieces(sample: EncodedSample, tokenizer: Any) -> list[Piece]:
    """Cut a sample into runs of tokens with one role, of one image, and with or without labels.

    Args:
        sample: S tokens.
        tokenizer: the one that made them.

    Returns:
        The runs in order; together they hold all S tokens.
    """
    image_id = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    ids: list[int] = sample.ids.tolist()
    labelled = (sample.labels != IGNORED).tolist()
    kinds = [
        (Role(role), token == image_id, label)
        for role, token, label in zip(sample.roles.tolist(), ids, labelled, strict=True)
    ]
    out: list[Piece] = []
    start = images = 0
    for (role, visual, label), run in groupby(kinds):
        count = len(list(run))
        images += visual
        run_ids = ids[start : start + count]
        text = f"[image {images}: {count} tokens]" if visual else _text(run_ids, role, tokenizer)
        out.append(Piece(role, text, count, label))
        start += count
    return out


def role_counts(sample: EncodedSample) -> dict[str, int]:
    """Count a sample's tokens by role, in lower case, and the labelled ones as "labels"."""
    counts = Counter(sample.roles.tolist())
    named = {role.name.lower(): counts[int(role)] for role in Role if counts[int(role)]}
    return {**named, "labels": int((sample.labels != IGNORED).sum())}


def terminal(samples: Sequence[Shown], tokenizer: Any) -> RenderableType:
    """Draw samples for a terminal: roles in colours, labels underlined."""
    from rich.console import Group

    return Group(_legend(), *(_panel(item, tokenizer) for item in samples))


def html(samples: Sequence[Shown], tokenizer: Any, path: str | Path) -> Path:
    """Write samples to one HTML file with their images and regions; it loads nothing and runs no script."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = [
        {
            "record": item.record,
            "images": _images(item),
            "pieces": pieces(item.sample, tokenizer),
            "counts": role_counts(item.sample),
        }
        for item in samples
    ]
    roles = [role for role in Role if role is not Role.PAD]
    text = environment.get_template("preview.html").render(samples=rows, roles=roles)
    path = Path(path)
    path.write_text(text, encoding="utf-8", errors="replace")
    return path


def _text(ids: list[int], role: Role, tokenizer: Any) -> str:
    if role is Role.LATENT and len(ids) > _LONGEST_LATENT_RUN:
        first, last = tokenizer.convert_ids_to_tokens([ids[0], ids[-1]])
        return f"[{len(ids)} latents: {first} … {last}]"
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _images(item: Shown) -> list[tuple[str, str]]:
    """Give each image's caption and data URI, with its regions drawn."""
    out = []
    for i, image in enumerate(item.images):
        boxes = [box.box for box in item.record.bboxes if box.image == i]
        caption = f"image {i + 1}, {image.width} x {image.height} pixels"
        out.append((caption, data_uri(png(with_boxes(displayed(image), boxes)))))
    return out


def _legend() -> Text:
    from rich.text import Text

    out = Text("roles: ")
    for role, style in _STYLES.items():
        if role is not Role.PAD:
            out.append(role.name.lower(), style).append("  ")
    return out.append("label", "underline")


def _panel(item: Shown, tokenizer: Any) -> RenderableType:
    from rich.panel import Panel
    from rich.text import Text

    body = Text()
    for piece in pieces(item.sample, tokenizer):
        style = _STYLES[piece.role] + (" underline" if piece.labelled else "")
        body.append(printable(piece.text, lines=True), style)
    counts = ", ".join(f"{name} {count}" for name, count in role_counts(item.sample).items())
    record = item.record
    body.append(f"\n\nanswer: {printable(record.answer)} ({record.answer_type})\ntokens: {counts}", "dim")
    title = Text(f"{printable(record.id)} · {printable(record.task)} · {printable(record.split)}")
    return Panel(body, title=title, title_align="left")
