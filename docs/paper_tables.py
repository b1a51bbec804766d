"""Print the page on reproduction with the papers' tables as they are now; `--write` writes it.

Usage: python docs/paper_tables.py [--write]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from latentvr.evaluation.papers import find
from latentvr.runs.report_table_text import of_paper

PAGE = Path(__file__).resolve().parent / "reproduce.md"
_BLOCK = re.compile(r"(<!-- report-table (\S+) -->\n).*?(<!-- end -->\n)", re.S)


def with_tables(text: str) -> str:
    """Put between the marks of each table what `latentvr report-table NAME --markdown` prints."""
    return _BLOCK.sub(lambda found: found[1] + of_paper(find(found[2])).to_markdown() + found[3], text)


if __name__ == "__main__":
    made = with_tables(PAGE.read_text(encoding="utf-8"))
    if "--write" in sys.argv:
        PAGE.write_text(made, encoding="utf-8")
    else:
        print(made, end="")  # noqa: T201 - a script; the page is its result
