"""One word about whether the answers use the latents, by a rule that is fixed before the figures are seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from latentvr.diagnostics.figures import BASELINE, Figures
from latentvr.diagnostics.interventions import IDENTITY, NAMES
from latentvr.diagnostics.recorded import NO_LATENTS
from latentvr.evaluation.paired import holm, p_text, points

Word = Literal["used", "not shown to be used", "markers suffice", "no latents"]

ALPHA = 0.05
#: Losses up to this share of the records count as small where none was shown.
MARGIN = 0.05
RULE = (
    "A condition falls where its accuracy is below the baseline's, the p value of McNemar's test is below "
    f"{ALPHA} after Holm's correction over all interventions, and the 95 % interval of the difference lies "
    "below 0. Markers suffice: drop falls, and with the markers alone (markers_only), or with nothing in "
    "the slots (zeros and mean, both), the 95 % interval of the difference lies above a quarter of what "
    "drop costs. Used: they do not suffice, and accuracy falls without the latents (drop), with another "
    "record's (swap), and under every condition that leaves nothing of the record in them (zeros, mean, "
    "noise_matched, noise_norm, blank_image, markers_only); what does not apply is not asked for, but "
    "drop alone is not enough. Not shown to be used: everything else, too few records included."
)
#: Conditions that leave nothing of the record in its latents.
_EMPTY = ("zeros", "mean", "noise_matched", "noise_norm", "blank_image", "markers_only")
_TESTS = ("drop", "swap", *_EMPTY)
#: Either of these shows that places matter and what is in them does not.
_KEEPING = (("markers_only",), ("zeros", "mean"))
_PHRASES = {
    "drop": "without the latents",
    "swap": "with another record's latents",
    "zeros": "with zeros",
    "mean": "with mean latents",
    "noise_matched": "with noise like the latents",
    "noise_norm": "with noise of their length",
    "blank_image": "with the latents of a blank image",
    "markers_only": "with the markers alone",
}


@dataclass(frozen=True)
class Verdict:
    """What the figures say.

    Attributes:
        word: the verdict.
        sentence: the same in plain words, with the figures that decide it.
        reasons: each test of the rule: condition, figures, passed or not.
    """

    word: Word
    sentence: str
    reasons: tuple[str, ...]


def verdict(
    figures: Mapping[str, Figures], has_latents: bool, absent: Mapping[str, str] | None = None
) -> Verdict:
    """Apply `RULE`.

    Args:
        figures: of the baseline and of each condition that was run.
        has_latents: whether the method has latents.
        absent: conditions that do not apply, with the reason; one that is neither here nor in `figures` was
            not run.

    Returns:
        The verdict; "not shown to be used" where a condition that could decide it was not run.
    """
    if not has_latents:
        return Verdict(
            "no latents", "The method has no latents: there is nothing that answers could use.", ()
        )
    judged = _Judged(figures, absent or {})
    word, sentence = judged.decide()
    return Verdict(word, f"{word.capitalize()}: {sentence}.", judged.reasons())


class _Judged:
    """The rule on the figures of one model."""

    def __init__(self, figures: Mapping[str, Figures], absent: Mapping[str, str]) -> None:
        self._figures = figures
        self._absent = absent
        self._baseline = figures[BASELINE]
        self._missing = [name for name in _TESTS if name not in figures and name not in absent]

    def decide(self) -> tuple[Word, str]:
        """The word, and what follows it in the sentence."""
        if NO_LATENTS in self._absent.values():
            return "not shown to be used", "no answer opened a latent span, so that nothing could be replaced"
        kept = next((names for names in _KEEPING if all(map(self._keeps, names))), None)
        if kept is not None:
            worst = min(kept, key=lambda name: self._figures[name].interval[0])
            keeper = "the markers alone" if worst == "markers_only" else "slots with nothing in them"
            misled = f"; it is misled {self._with('swap')}" if self._falls("swap") else ""
            return "markers suffice", (
                f"{self._losses(['drop'])}, but {keeper} prevent most of that loss "
                f"({worst}: {self._told(worst)}){misled}"
            )
        standing = [name for name in _TESTS if name in self._figures and not self._falls(name)]
        if not standing and self._missing:
            return "not shown to be used", (
                f"the verdict needs conditions that were not run: {', '.join(self._missing)}; fix: add them "
                "to --interventions, or leave that option out"
            )
        falling = self._falling()
        if not standing and any(name != "drop" for name in falling):
            return "used", self._losses(falling)
        told = f"{self._losses(falling)}, but " if falling else ""
        return "not shown to be used", told + self._why_not(standing)

    def reasons(self) -> tuple[str, ...]:
        """Each test of the rule with its figures."""
        return tuple(self._line(name) for name in _TESTS)

    def _line(self, name: str) -> str:
        if name in self._figures:
            word = "falls, passed" if self._falls(name) else "does not fall, not passed"
            if self._keeps(name):
                least = points(self._quarter())
                word += f"; its interval lies above {least} points, a quarter of what drop costs"
            return f"{name}: {self._told(name)}: {word}"
        if name in self._absent:
            return f"{name}: does not apply: {self._absent[name] or 'no reason was given'}"
        return f"{name}: was not run; the verdict needs it"

    def _falls(self, name: str) -> bool:
        figures = self._figures.get(name)
        return (
            figures is not None
            and figures.difference < 0
            and figures.adjusted < ALPHA
            and figures.interval[1] < 0
        )

    def _falling(self) -> list[str]:
        return [name for name in _TESTS if self._falls(name)]

    def _quarter(self) -> float:
        """A quarter of what drop costs, a number below 0."""
        return self._figures["drop"].difference / 4

    def _keeps(self, name: str) -> bool:
        """Whether a condition that empties the latents surely keeps most of what drop costs."""
        if not any(name in names for names in _KEEPING) or name not in self._figures:
            return False
        return self._falls("drop") and self._figures[name].interval[0] > self._quarter()

    def _losses(self, falling: Sequence[str]) -> str:
        """Say what makes answers worse: drop, and of all others the one that costs least."""
        others = [name for name in falling if name != "drop"]
        parts = [self._with("drop")] if "drop" in falling else []
        if len(others) == 1:
            parts.append(self._with(others[0]))
        elif others:
            least = max(others, key=lambda name: self._figures[name].difference)
            asked = sum(name not in self._absent for name in _TESTS) - len(parts)
            share = f"all {asked}" if len(others) == asked else f"{len(others)} of {asked}"
            other = " other" if parts else ""
            parts.append(f"under {share}{other} conditions that the rule asks for, least {self._with(least)}")
        return f"answers get worse {' and '.join(parts)}"

    def _why_not(self, standing: Sequence[str]) -> str:
        if not standing:
            which = "other condition" if self._falling() else "condition"
            return f"no {which} of the rule applies"
        # What says most against the latents comes first: nothing in their place, or the smallest loss.
        name = max(standing, key=lambda name: (name == "drop", self._figures[name].difference))
        left = self._left_open()
        open_ = f"; whether the markers suffice is open; not run: {', '.join(left)}" if left else ""
        return self._unmoved(name) + open_

    def _left_open(self) -> list[str]:
        """Conditions that were not run, and with which the word could be that the markers suffice."""
        drop_open = "drop" in self._missing
        if not drop_open and not self._falls("drop"):
            return []

        def could_keep(name: str) -> bool:
            return name in self._missing or self._keeps(name) or (drop_open and name in self._figures)

        open_ = [name for names in _KEEPING if all(map(could_keep, names)) for name in ("drop", *names)]
        return [name for name in dict.fromkeys(open_) if name in self._missing]

    def _unmoved(self, name: str) -> str:
        """Say that a condition costs little, or that these records cannot tell."""
        figures, least, records = self._figures[name], self._least(name), self._baseline.total
        if self._baseline.correct < least:
            return (
                f"there are too few right answers to tell: the model is right on {self._baseline.correct} of "
                f"{records} records, and a fall can be shown from {least} lost answers on"
            )
        if figures.interval[0] >= -MARGIN and least / records <= MARGIN:
            word = "even better" if figures.interval[0] > 0 else "about as good"
            return f"answers are {word} {self._with(name)}"
        return (
            f"there are too few records to tell whether answers get worse {self._with(name)}; at best, "
            f"{records} records can show a fall of {100 * least / records:.1f} points"
        )

    def _least(self, name: str) -> int:
        """Fewest answers that have to be lost, with none won, for a condition to fall beside the others."""
        ps = {key: 1.0 for key in NAMES if key not in (IDENTITY, *self._absent)}
        ps |= {key: each.p for key, each in self._figures.items() if key not in (BASELINE, IDENTITY)}
        lost = 1
        while holm({**ps, name: 2 * 0.5**lost})[name] >= ALPHA:
            lost += 1
        return lost

    def _with(self, name: str) -> str:
        return f"{_PHRASES[name]} ({self._told(name)})"

    def _told(self, name: str) -> str:
        figures = self._figures[name]
        low, high = (points(end) for end in figures.interval)
        interval = f"95 % interval {low} to {high}, adjusted {p_text(figures.adjusted)}"
        return f"{points(figures.difference)} points, {interval}"
