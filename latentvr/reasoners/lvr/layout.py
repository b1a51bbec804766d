"""Where LVR's markers and slots stand in the answer (arXiv 2509.24251, section 3.1)."""

from __future__ import annotations

from dataclasses import replace

from latentvr.data.layout import Layout, Region, Segment, plain_layout
from latentvr.data.record import Box, Record
from latentvr.errors import RecordError
from latentvr.reasoners.lvr.config import Config

START, SLOT, LATENT_END, END = "<|lvr_start|>", "<|lvr|>", "<|lvr_latent_end|>", "<|lvr_end|>"
#: Stands for a span in the published data, once for each box.
PLACEHOLDER = "<lvr>"


def span_layout(record: Record, options: Config) -> Layout:
    """Lay out a record: the prompt as it is, and a span for each box in the answer.

    Args:
        record: with boxes; where it has a full response, `<lvr>` in it marks the spans.
        options: of the method.

    Returns:
        The layout. Slots without a region stand where a training record has no boxes and that is refused.

    Raises:
        RecordError: placeholders and boxes differ in number, or one stands in the prompt.
    """
    if PLACEHOLDER in record.prompt:
        raise RecordError(
            f"expected {PLACEHOLDER} in the response alone, got it in the prompt, at record {record.id!r}; "
            "fix: take it out of the prompt"
        )
    user = plain_layout(record).user
    if options.hide_region:
        user = tuple(_without_regions(segment, record.bboxes) for segment in user)
    return Layout(user, tuple(_answer(record, options)))


def _without_regions(segment: Segment, boxes: tuple[Box, ...]) -> Segment:
    if segment.kind != "image":
        return segment
    return replace(segment, hidden=tuple(box for box in boxes if box.image == segment.image))


def _answer(record: Record, options: Config) -> list[Segment]:
    """The answer's segments: text, span, text and so on, as many spans as boxes."""
    regions = [_region(box, options) for box in record.bboxes]
    texts = _texts(record, options, len(regions))
    if not regions and len(texts) == 1 and options.boxless == "plain":
        return [Segment("text", texts[0])]
    if not regions:  # refused where it is encoded; a prompt alone needs no regions
        return [*_span(None, options), Segment("text", texts[-1])]
    if len(texts) - 1 != len(regions):
        raise RecordError(
            f"expected one {PLACEHOLDER} in the response for each box, got {len(texts) - 1} for "
            f"{len(regions)} boxes, at record {record.id!r}; fix: write as many as there are bboxes"
        )
    out = [Segment("text", texts[0])]
    for region, text in zip(regions, texts[1:], strict=True):
        out += [*_span(region, options), Segment("text", text)]
    return [segment for segment in out if segment.kind != "text" or segment.text]


def _texts(record: Record, options: Config, regions: int) -> list[str]:
    """The texts around the spans."""
    if record.response:
        return record.response.split(PLACEHOLDER)
    answer = f"<answer> {record.answer} </answer>" if options.wrap_answer else record.answer
    return ["", *[""] * (regions - 1), f"\n{answer}"] if regions else [answer]


def _span(region: Region | None, options: Config) -> list[Segment]:
    closing = LATENT_END + END if options.layout == "A" else END
    return [Segment("tokens", START), Segment("slots", SLOT, region=region), Segment("tokens", closing)]


def _region(box: Box, options: Config) -> Region:
    source = "crop" if options.target == "crop" else "original" if options.hide_region else "input"
    return Region(box, source, options.pool)  # type: ignore[arg-type]
