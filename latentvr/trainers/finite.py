"""Stop before the weights change when a loss term or the gradient is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from latentvr.errors import NonFiniteError

SHOWN = 16


@dataclass
class Window:
    """What the micro-batches of one optimiser step gave, for logs and error messages.

    Attributes:
        ids: sample ids, a list per micro-batch.
        terms: loss terms, a mapping per micro-batch; each is divided by its count in the whole step.
        weights: weight of each term in the loss.
    """

    ids: list[list[str]]
    terms: list[dict[str, Tensor]] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)

    def means(self) -> dict[str, Tensor]:
        """Each term over the whole optimiser step, as this rank saw it."""
        return {name: torch.stack([terms[name] for terms in self.terms]).sum() for name in self.terms[0]}

    def samples(self) -> list[str]:
        """All sample ids in order."""
        return [name for ids in self.ids for name in ids]


def require_finite(window: Window, gradient: Tensor | float | None, step: int, stage: str) -> None:
    """Refuse a step whose losses or gradient are not finite.

    Args:
        window: the step's terms and samples.
        gradient: its norm, or None where a loss scaler judges it.
        step: optimiser step of the run.
        stage: name of the stage.

    Raises:
        NonFiniteError: names the term, the step, the stage and the samples of the micro-batches at fault.
    """
    sums = window.means()
    if gradient is not None:
        sums["gradient"] = torch.as_tensor(gradient, device=next(iter(sums.values())).device)
    finite = torch.isfinite(torch.stack([value.float() for value in sums.values()])).tolist()
    if all(finite):
        return
    bad = next(name for name, good in zip(sums, finite, strict=True) if not good)
    raise NonFiniteError(
        f"expected finite losses and gradients, got NaN or infinity in {bad!r}, at step {step} of stage "
        f"{stage!r}, samples {listed(blamed(window, bad))}; fix: look at these samples, or lower "
        "optim.learning_rate; the weights were not changed"
    )


def blamed(window: Window, term: str) -> list[str]:
    """Samples of the micro-batches in which a term is not finite; all where no single one is to blame."""
    found = [
        ids
        for ids, terms in zip(window.ids, window.terms, strict=True)
        if term in terms and not bool(torch.isfinite(terms[term]))
    ]
    return [name for ids in found or window.ids for name in ids]


def listed(names: Sequence[str]) -> str:
    """Names in a row, cut after the first few, with the number of the others."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
