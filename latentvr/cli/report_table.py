"""`latentvr report-table`: a table of a paper, alone or beside own results."""

from __future__ import annotations

from collections.abc import Sequence

import typer


def run(table: str, rows: Sequence[str], *, markdown: bool) -> None:
    """Print a table of a paper, beside the results of some of its rows where they are named.

    Args:
        table: its name; "" lists all.
        rows: `ROW=FOLDER` or `ROW:COLUMN=FOLDER` texts.
        markdown: write Markdown.

    Raises:
        UserError: table, row, column or folder are wrong.
    """
    from latentvr.evaluation.papers import find
    from latentvr.runs.report_table import report
    from latentvr.runs.report_table_text import beside, listing, of_paper

    if rows:
        made = [beside(each) for each in report(table, rows)]
    else:
        made = [of_paper(find(table)) if table else listing()]
    texts = [each.to_markdown() if markdown else each.to_text() for each in made]
    typer.echo("\n".join(texts), nl=False)
