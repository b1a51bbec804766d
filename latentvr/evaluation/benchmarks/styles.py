"""Ways to ask a benchmark's questions: the wording in `styles.yaml`, and the rule that reads the answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files
from typing import Any

import yaml

from latentvr.data.prompt import letters
from latentvr.data.record import Record

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Style:
    """One way to ask, and to read what was answered.

    Attributes:
        rule: id of the answer rule.
        max_new_tokens: longest answer; None leaves it to the recipe.
        prompt: gives the text for a record; images come first where the text holds no mark of one.
        rules: rules of those tasks (`Record.task`) that are answered in another form.
    """

    rule: str
    max_new_tokens: int | None
    prompt: Callable[[Record], str]
    rules: Mapping[str, str] = field(default_factory=dict)

    def rule_of(self, record: Record) -> str:
        """Id of the rule that reads the answer to a record."""
        return self.rules.get(record.task, self.rule)


@cache
def styles(benchmark: str) -> dict[str, Style]:
    """Give the styles of a benchmark.

    Args:
        benchmark: its name.

    Returns:
        The styles by name, the benchmark's own, "native", first.
    """
    document: dict[str, Any] = yaml.safe_load(files(__package__).joinpath("styles.yaml").read_text("utf-8"))
    return {name: _style(value) for name, value in document[benchmark].items()}


def _style(value: Mapping[str, Any]) -> Style:
    tasks = value.get("tasks", {})
    prompts = {task: other["prompt"] for task, other in tasks.items() if "prompt" in other}
    return Style(
        value["rule"],
        value.get("max_new_tokens"),
        partial(_asked, value["prompt"], prompts),
        {task: other["rule"] for task, other in tasks.items() if "rule" in other},
    )


def _asked(wording: str, others: Mapping[str, str], record: Record) -> str:
    return filled(others.get(record.task, wording), record)


def filled(wording: str, record: Record) -> str:
    """Fill the fields of a wording from a record.

    Args:
        wording: with fields in braces: prompt, question, options (a line "A. text" for each), letters
            ("A, B"), or the name of a text in the record's meta. What is filled in stays as it is.
        record: what is asked.

    Returns:
        The text.

    Raises:
        KeyError: the record has no such field.
    """
    marks = letters(len(record.choices))
    values = {
        **{name: value for name, value in record.meta.items() if isinstance(value, str)},
        "prompt": record.prompt,
        "question": record.question,
        "options": "\n".join(f"{mark}. {text}" for mark, text in zip(marks, record.choices, strict=True)),
        "letters": ", ".join(marks),
    }
    return _FIELD.sub(lambda found: values[found[1]], wording)
