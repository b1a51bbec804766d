"""What must hold for every record, whichever file it came from."""

from __future__ import annotations

from latentvr.data.prompt import letters
from latentvr.data.readers.fields import MARK, Place, shown, wrong
from latentvr.data.record import ANSWER_TYPES, Record

SPLITS = ("train", "validation", "test")
MAX_CHOICES = 26


def validate(record: Record, place: Place) -> None:
    """Refuse a record that contradicts itself.

    Args:
        record: as a reader made it.
        place: where the row is.

    Raises:
        RecordError: unknown split or answer type, image marks that do not fit the images, a box of
            an image that is not there, or an answer that its type does not allow.
    """
    if record.split not in SPLITS:
        raise wrong(f"a split of {', '.join(SPLITS)}", shown(record.split), place, "rename the split")
    if record.answer_type not in ANSWER_TYPES:
        known = ", ".join(ANSWER_TYPES)
        raise wrong(f"an answer type of {known}", shown(record.answer_type), place, "use one of them")
    marks = record.prompt.count(MARK)
    if marks not in (0, len(record.images)):
        expected = f"{len(record.images)} {MARK} marks or none"
        raise wrong(expected, str(marks), place, "write one mark for each image, or none at all")
    for box in record.bboxes:
        if not 0 <= box.image < len(record.images):
            expected = f"a box of one of {len(record.images)} images"
            raise wrong(expected, f"image {box.image}", place, "count images from 0")
    _validate_answer(record, place)


def _validate_answer(record: Record, place: Place) -> None:
    answer = record.answer
    if record.answer_type == "mcq":
        if not 2 <= len(record.choices) <= MAX_CHOICES:
            expected = f'2 to {MAX_CHOICES} "choices" of an mcq'
            raise wrong(expected, str(len(record.choices)), place, "list the texts of all options")
        allowed = letters(len(record.choices))
        if answer not in allowed:
            expected = f"an answer from {allowed[0]} to {allowed[-1]}"
            raise wrong(expected, shown(answer), place, "answer with the letter of the right option")
    elif record.answer_type == "yesno" and answer.lower() not in ("yes", "no"):
        raise wrong("yes or no as the answer", shown(answer), place, "correct the answer or its type")
    elif record.answer_type == "number" and not _is_number(answer):
        raise wrong("a number as the answer", shown(answer), place, "correct the answer or its type")


def _is_number(answer: str) -> bool:
    try:
        float(answer.replace(",", ""))
    except ValueError:
        return False
    return True
