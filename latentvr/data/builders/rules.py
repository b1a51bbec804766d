"""Rule parameters of a builder: typed, with a recorded default, and whether the paper states them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Provenance = Literal["paper", "not in the paper"]


def rule(
    default: Any,
    provenance: Provenance,
    text: str,
    low: float | None = None,
    high: float | None = None,
    one_of: tuple[str, ...] = (),
) -> Any:
    """A field of a `Rules` class.

    Args:
        default: value where the user gives none; its type is the field's.
        provenance: whether the value is the paper's.
        text: what the parameter means, with its unit.
        low: smallest value, if there is one.
        high: largest value, if there is one.
        one_of: the values that a text may have, if they are few.

    Returns:
        The dataclass field.
    """
    return dataclasses.field(
        default=default,
        metadata={"provenance": provenance, "text": text, "low": low, "high": high, "one_of": one_of},
    )


@dataclass(frozen=True)
class Rules:
    """Base of every builder's parameters; a builder's class adds fields made by `rule`.

    Fields are of the types int, float, bool, str, and `int | None` where None means "all that there are".
    """

    def written(self) -> dict[str, dict[str, Any]]:
        """Give value, default, provenance and meaning of every parameter, for the manifest."""
        return {
            field.name: {
                "value": getattr(self, field.name),
                "default": field.default,
                # Another value than the default is the user's, whatever the default's source is.
                "provenance": field.metadata["provenance"]
                if getattr(self, field.name) == field.default
                else "set by the user",
                "text": field.metadata["text"],
            }
            for field in dataclasses.fields(self)
        }
