"""MMVP (hub `MMVP/MMVP`, MIT): 300 questions in pairs of alike pictures.

On disk: `Questions.csv` with Index, Question, Options ("(a) Open (b) Closed") and Correct Answer ("(a)"),
and `MMVP Images/1.jpg` to `300.jpg`. Questions 2i-1 and 2i are a pair.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from latentvr.data.prompt import letters
from latentvr.data.readers.fields import Place, shown, text, wrong
from latentvr.data.sets.options import parted

FILE = "Questions.csv"
FOLDER = "MMVP Images"
# Two pairs whose answers stand swapped in the published file; lmms-eval corrects them.
ORIGINAL = {99: "A", 100: "B", 279: "A", 280: "B"}
CORRECTED = {99: "B", 100: "A", 279: "B", 280: "A"}
_COLUMNS = ("Index", "Question", "Options", "Correct Answer")
_DIGITS = 9


@dataclass(frozen=True)
class MmvpRow:
    """One question.

    Attributes:
        index: from 1.
        image: path of the picture below the root.
        question: without options.
        options: as the file has them: "(a) Open (b) Closed".
        choices: texts of the options.
        answer: letter, upper case, as the file has it.
        where: file and row.
    """

    index: int
    image: str
    question: str
    options: str
    choices: tuple[str, ...]
    answer: str
    where: str

    @property
    def pair(self) -> int:
        """Number of the pair, from 1."""
        return (self.index + 1) // 2

    @property
    def original(self) -> str:
        """The answer as it was first published, whichever the file has."""
        return ORIGINAL.get(self.index, self.answer)

    @property
    def corrected(self) -> str:
        """The answer after the correction of two pairs, whichever the file has."""
        return CORRECTED.get(self.index, self.answer)


def rows(path: Path) -> list[MmvpRow]:
    """Read the questions in the order of the file.

    Args:
        path: the folder, or the CSV file itself.

    Returns:
        The rows.

    Raises:
        RecordError: no file, a column that is missing, or a row of another form.
    """
    file = path if path.is_file() else path / FILE
    if not file.is_file():
        raise wrong(FILE, "none", path, "name the folder of MMVP")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            table = [[cell.strip() for cell in row] for row in csv.reader(stream, strict=True) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        got = ascii(str(error))[1:-1][:200]
        raise wrong("comma-separated UTF-8 text", got, file.name, "download it again") from error
    # A lower-case L in place of the capital I looks alike, and has been seen.
    header = ["Index" if name == "lndex" else name for name in table[0]] if table else []
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise wrong(f"columns {', '.join(missing)}", shown(header), file.name, "name the file of MMVP")
    return [_row(header, row, Place(file.name, i, "test", "")) for i, row in enumerate(table[1:], start=1)]


def _row(header: list[str], cells: list[str], place: Place) -> MmvpRow:
    if len(cells) != len(header):
        raise wrong(f"{len(header)} fields", f"{len(cells)}", place, "download the file again")
    row = dict(zip(header, cells, strict=True))
    index = row["Index"]
    if not index.isdecimal() or len(index) > _DIGITS or int(index) < 1:
        raise wrong("an Index from 1 on", shown(index), place, "download the file again")
    choices = parted(text(row, "Options", place)).options
    answer = text(row, "Correct Answer", place).strip("()").upper()
    if len(choices) < 2 or answer not in letters(len(choices)):
        got = f"{shown(row['Options'])} and {shown(row['Correct Answer'])}"
        raise wrong('options such as "(a) … (b) …" and an answer such as "(a)"', got, place, "correct them")
    image, question = f"{FOLDER}/{int(index)}.jpg", text(row, "Question", place)
    return MmvpRow(int(index), image, question, row["Options"], choices, answer, str(place))
