"""What an intervention on the latents gave."""

from __future__ import annotations

from dataclasses import dataclass

from latentvr.evaluation.metrics import Prediction


@dataclass(frozen=True)
class Outcome:
    """What one condition gave, record by record, in the order of the source.

    Attributes:
        predictions: one for each record.
        probabilities: of the right answer under teacher forcing, each in [0, 1], one for each record.
    """

    predictions: tuple[Prediction, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Condition:
    """One intervention with what it gave.

    Attributes:
        name: of the condition.
        runs: one for each seed; one where nothing is drawn; none where the condition does not apply.
        reason: why it does not apply; "" where it does.
    """

    name: str
    runs: tuple[Outcome, ...]
    reason: str = ""
