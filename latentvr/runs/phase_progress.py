"""How the phases of a pretraining report where they are."""

from __future__ import annotations

from collections.abc import Callable

#: Called after each step with the phase's name, its finished steps, all its steps and the loss of the step.
PhaseProgress = Callable[[str, int, int, float], None]
