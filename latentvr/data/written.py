"""The canonical written form of a record: one JSON object."""

from __future__ import annotations

from typing import Any

from latentvr.data.record import Record


def to_row(record: Record) -> dict[str, Any]:
    """Give the record as JSON values, with every field, in the order of `Record`."""
    return {
        "id": record.id,
        "task": record.task,
        "split": record.split,
        "images": list(record.images),
        "prompt": record.prompt,
        "answer": record.answer,
        "answer_type": record.answer_type,
        "question": record.question,
        "choices": list(record.choices),
        "bboxes": [{"image": box.image, "box": list(box.box)} for box in record.bboxes],
        "response": record.response,
        "meta": record.meta,
    }
