"""One picture of a dozen samples, to judge a build by at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

MOST = 12
COLUMNS = 3

_CELL = 560
_PICTURES = 240
_LINES = 7
_LINE = 19
_TITLE = 26
_PAD = 12
_GAP = 6
_PAPER, _CARD, _EDGE, _BAR = (226, 228, 232), (255, 255, 255), (176, 180, 188), (52, 62, 80)
_INK, _TITLE_INK = (28, 30, 34), (255, 255, 255)
_HEIGHT = _TITLE + _PICTURES + _LINES * _LINE + 3 * _PAD

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def sheet(samples: Sequence[tuple[str, Sequence[Image.Image], str]]) -> Image.Image:
    """Lay samples out as cards in a grid.

    A card shows the title, the pictures in order and as large as they fit side by side in one row, and
    below them the last lines of the text, where the choices and the answer stand.

    Args:
        samples: title, pictures of any size and mode, and text of each; one to `MOST` of them.

    Returns:
        RGB picture, `COLUMNS` cards wide unless there are fewer samples; the same for the same samples.

    Raises:
        ValueError: no sample, or more than `MOST`.
    """
    if not 1 <= len(samples) <= MOST:
        raise ValueError(f"expected 1 to {MOST} samples, got {len(samples)}")
    columns = min(COLUMNS, len(samples))
    rows = -(-len(samples) // columns)
    size = (_PAD + columns * (_CELL + _PAD), _PAD + rows * (_HEIGHT + _PAD))
    page = Image.new("RGB", size, _PAPER)
    for number, (title, pictures, text) in enumerate(samples):
        row, column = divmod(number, columns)
        corner = (_PAD + column * (_CELL + _PAD), _PAD + row * (_HEIGHT + _PAD))
        page.paste(_card(title, pictures, text), corner)
    return page


def _card(title: str, pictures: Sequence[Image.Image], text: str) -> Image.Image:
    card = Image.new("RGB", (_CELL, _HEIGHT), _CARD)
    draw = ImageDraw.Draw(card)
    draw.rectangle((0, 0, _CELL - 1, _HEIGHT - 1), outline=_EDGE)
    draw.rectangle((0, 0, _CELL - 1, _TITLE - 1), fill=_BAR)
    heading, body = ImageFont.load_default(15), ImageFont.load_default(14)
    draw.text((_PAD, 4), _wrapped(title, heading)[0], fill=_TITLE_INK, font=heading)
    _place(card, pictures)
    top = _TITLE + _PICTURES + 2 * _PAD
    for number, line in enumerate(_last_lines(text, body)):
        draw.text((_PAD, top + number * _LINE), line, fill=_INK, font=body)
    return card


def _place(card: Image.Image, pictures: Sequence[Image.Image]) -> None:
    """Put the pictures side by side, all scaled alike so that their sizes can be compared."""
    if not pictures:
        return
    across = _CELL - 2 * _PAD - _GAP * (len(pictures) - 1)
    widths, heights = [p.width for p in pictures], [p.height for p in pictures]
    scale = min(across / sum(widths), _PICTURES / max(heights))
    sizes = [(max(1, int(p.width * scale)), max(1, int(p.height * scale))) for p in pictures]
    left = (_CELL - sum(width for width, _ in sizes) - _GAP * (len(pictures) - 1)) // 2
    for picture, size in zip(pictures, sizes, strict=True):
        top = _TITLE + _PAD + (_PICTURES - size[1]) // 2
        method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
        card.paste(picture.convert("RGB").resize(size, method), (left, top))
        # A frame tells a white or black border of the picture from the card.
        ImageDraw.Draw(card).rectangle((left - 1, top - 1, left + size[0], top + size[1]), outline=_EDGE)
        left += size[0] + _GAP


def _last_lines(text: str, font: _Font) -> list[str]:
    lines = [
        line for paragraph in text.splitlines() if paragraph.strip() for line in _wrapped(paragraph, font)
    ]
    if len(lines) <= _LINES:
        return lines
    return ["[...]", *lines[-(_LINES - 1) :]]


def _wrapped(text: str, font: _Font) -> list[str]:
    """Break a text between words, and a longer word than a line where the line ends."""
    lines = [""]
    for word in text.split():
        piece = word
        while piece:
            longer = f"{lines[-1]} {piece}" if lines[-1] else piece
            if font.getlength(longer) <= _CELL - 2 * _PAD:
                lines[-1], piece = longer, ""
            elif lines[-1]:
                lines.append("")
            else:
                fitting = _fitting(piece, font)
                lines[-1], piece = piece[:fitting], piece[fitting:]
    return lines


def _fitting(word: str, font: _Font) -> int:
    """Count the first characters of a word that fill a line; at least one."""
    count = 1
    while count < len(word) and font.getlength(word[: count + 1]) <= _CELL - 2 * _PAD:
        count += 1
    return count
