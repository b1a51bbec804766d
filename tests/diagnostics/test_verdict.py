"""Every branch of the rule, what a missing condition does, and what is said."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from latentvr.diagnostics.figures import Figures
from latentvr.diagnostics.interventions import INTERVENTIONS
from latentvr.diagnostics.recorded import NO_LATENTS
from latentvr.diagnostics.verdict import RULE, Verdict, verdict

EMPTY = ("zeros", "mean", "noise_matched", "noise_norm", "blank_image", "markers_only")
NAMES = ("drop", "swap", *EMPTY)
SAME, LITTLE, MUCH = 0.0, -0.02, -0.3
UNUSED = dict.fromkeys(NAMES, SAME)
USED = dict.fromkeys(NAMES, MUCH)
TOLD = "-30.0 points, 95 % interval -35.0 to -25.0, adjusted p < 0.001"
NOTHING = "+0.0 points, 95 % interval +0.0 to +0.0, adjusted p = 0.6"


def _figures(differences: Mapping[str, float], correct: int = 400, total: int = 500) -> dict[str, Figures]:
    """Figures with intervals of plus and minus 5 points; a difference of more than that is significant."""
    out = {}
    for name, difference in {"baseline": 0.0, "identity": 0.0, **differences}.items():
        p = 0.0001 if abs(difference) > 0.05 else 0.6
        interval = (difference - 0.05, difference + 0.05) if difference else (0.0, 0.0)
        right = correct + round(total * difference)
        out[name] = Figures(name, right, total, difference, interval, p, p, 0.5, abs(difference), 0)
    return out


def _judge(
    differences: Mapping[str, float], without: tuple[str, ...] = (), absent: tuple[str, ...] = ()
) -> Verdict:
    """`without` were not run, `absent` do not apply."""
    kept = {name: value for name, value in differences.items() if name not in (*without, *absent)}
    return verdict(_figures(kept), True, dict.fromkeys(absent, "for a reason"))


def _changed(figures: dict[str, Figures], name: str, **parts: object) -> dict[str, Figures]:
    return {**figures, name: Figures(**{**vars(figures[name]), **parts})}


def test_used_tells_the_drop_and_the_smallest_fall() -> None:
    assert _judge({**USED, "mean": -0.12}).sentence == (
        f"Used: answers get worse without the latents ({TOLD}) and under all 7 other conditions that the "
        "rule asks for, least with mean latents (-12.0 points, 95 % interval -17.0 to -7.0, adjusted "
        "p < 0.001)."
    )


@pytest.mark.parametrize(
    "absent",
    [
        ("drop",),
        ("swap",),
        ("markers_only",),
        ("mean", "blank_image"),
        ("drop", *EMPTY),
        ("swap", *EMPTY[1:]),
    ],
)
def test_what_does_not_apply_is_said_and_not_asked_for(absent: tuple[str, ...]) -> None:
    found = _judge(USED, absent=absent)
    assert found.word == "used"
    assert all(f"{name}: does not apply: for a reason" in found.reasons for name in absent)


@pytest.mark.parametrize(
    ("absent", "told"),
    [
        (("drop",), "under all 7 conditions that the rule asks for, least with another record's latents ("),
        (("drop", *EMPTY), f"Used: answers get worse with another record's latents ({TOLD})."),
        (("swap", *EMPTY[1:]), f"answers get worse without the latents ({TOLD}) and with zeros ({TOLD})."),
        (("swap", "zeros"), "and under all 5 other conditions that the rule asks for, least with mean"),
    ],
)
def test_the_sentence_counts_what_was_asked_for(absent: tuple[str, ...], told: str) -> None:
    assert told in _judge(USED, absent=absent).sentence


@pytest.mark.parametrize("spared", NAMES)
def test_each_condition_of_the_rule_is_needed(spared: str) -> None:
    assert _judge({**USED, spared: LITTLE}).word != "used"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "part", [{"adjusted": 0.05}, {"interval": (-0.6, 0.0)}, {"difference": 0.0}, {"difference": 0.3}]
)
def test_a_fall_needs_direction_p_and_interval(name: str, part: dict[str, object]) -> None:
    assert verdict(_changed(_figures(USED), name, **part), True).word == "not shown to be used"


def test_conditions_that_the_rule_does_not_name_have_no_say() -> None:
    others = [each.name for each in INTERVENTIONS if each.name not in (*NAMES, "identity")]
    assert _judge({**USED, **dict.fromkeys(others, SAME)}).word == "used"
    assert _judge({**UNUSED, **dict.fromkeys(others, MUCH)}).word == "not shown to be used"


def test_dropping_alone_shows_no_use_of_what_the_latents_hold() -> None:
    """The places and the markers go with them."""
    assert _judge(USED, absent=("swap", *EMPTY)).sentence == (
        f"Not shown to be used: answers get worse without the latents ({TOLD}), but no other condition of "
        "the rule applies."
    )
    assert _judge({}, absent=NAMES).sentence == "Not shown to be used: no condition of the rule applies."


@pytest.mark.parametrize("others", [USED, UNUSED])
def test_markers_suffice(others: dict[str, float]) -> None:
    """Whatever replaced latents do: these may be worse than none."""
    found = _judge({**others, "drop": MUCH, "markers_only": LITTLE})
    assert found.word == "markers suffice"
    assert found.sentence == (
        f"Markers suffice: answers get worse without the latents ({TOLD}), but the markers alone prevent "
        "most of that loss (markers_only: -2.0 points, 95 % interval -7.0 to +3.0, adjusted p = 0.6)"
        + (f"; it is misled with another record's latents ({TOLD})." if others is USED else ".")
    )
    assert found.reasons[-1].endswith(
        "does not fall, not passed; its interval lies above -7.5 points, a quarter of what drop costs"
    )


@pytest.mark.parametrize(("lower", "word"), [(-0.074, "markers suffice"), (-0.075, "not shown to be used")])
def test_markers_suffice_where_the_whole_interval_lies_above_a_quarter(lower: float, word: str) -> None:
    figures = _figures({**UNUSED, "drop": MUCH, "mean": MUCH})
    assert verdict(_changed(figures, "markers_only", interval=(lower, 0.0)), True).word == word


def test_markers_that_keep_most_suffice_although_every_condition_falls() -> None:
    """With many records a small fall is shown, too; most of what is lost without latents is not in them."""
    found = _judge({**USED, "drop": -0.6, "markers_only": -0.06})
    assert found.word == "markers suffice"
    assert "lies above -15.0 points, a quarter of what drop costs" in found.reasons[-1]


@pytest.mark.parametrize("markers", [{}, {"markers_only": MUCH}])
def test_empty_slots_suffice_with_zeros_and_mean_both(markers: dict[str, float]) -> None:
    absent = () if markers else ("markers_only",)
    found = _judge({**UNUSED, **markers, "drop": MUCH, "zeros": LITTLE}, absent=absent)
    assert found.word == "markers suffice"
    assert "slots with nothing in them prevent most of that loss (zeros: -2.0 points" in found.sentence
    for name in ("zeros", "mean"):
        one = _judge({**UNUSED, **markers, "drop": MUCH, name: MUCH}, absent=absent)
        assert one.word == "not shown to be used"


def test_nothing_suffices_where_nothing_is_lost() -> None:
    found = _judge({**UNUSED, "drop": LITTLE})
    assert found.word == "not shown to be used"
    assert not any("quarter" in reason for reason in found.reasons)


@pytest.mark.parametrize("missing", NAMES)
def test_a_condition_that_was_not_run_leaves_the_verdict_open(missing: str) -> None:
    found = _judge(USED, without=(missing,))
    assert found.sentence == (
        f"Not shown to be used: the verdict needs conditions that were not run: {missing}; fix: add them to "
        "--interventions, or leave that option out."
    )
    assert f"{missing}: was not run; the verdict needs it" in found.reasons


def test_nothing_but_the_baseline_asks_for_all() -> None:
    assert f"were not run: {', '.join(NAMES)}; fix" in _judge({}).sentence


def test_a_condition_that_stands_decides_against_use_without_the_others() -> None:
    found = _judge({"drop": SAME, "swap": MUCH})
    assert f"but answers are about as good without the latents ({NOTHING})." in found.sentence


@pytest.mark.parametrize("seen", ["markers_only", "zeros"])
def test_markers_are_called_enough_without_the_other_conditions(seen: str) -> None:
    shown = {"zeros": SAME, "mean": SAME} if seen == "zeros" else {seen: SAME}
    assert _judge({"drop": MUCH, **shown}).word == "markers suffice"


@pytest.mark.parametrize(
    ("differences", "absent", "open_"),
    [
        ({"drop": MUCH, "swap": SAME}, (), "markers_only, zeros, mean"),
        ({"drop": MUCH, "swap": SAME}, ("markers_only",), "zeros, mean"),
        ({"drop": MUCH, "zeros": SAME, "markers_only": MUCH}, (), "mean"),
        # Whatever the mean shows: zeros cost as much as drop does.
        ({"drop": MUCH, "zeros": MUCH, "swap": SAME, "markers_only": MUCH}, (), ""),
        ({"drop": MUCH, "zeros": SAME, "markers_only": MUCH}, ("mean",), ""),
        ({"zeros": SAME, "mean": SAME}, (), "drop, markers_only"),
        ({"zeros": SAME, "mean": SAME, "markers_only": SAME}, (), "drop"),
        ({"zeros": SAME, "mean": SAME}, ("drop",), ""),
        ({"drop": SAME}, (), ""),
    ],
)
def test_what_might_show_that_markers_suffice_is_named(
    differences: dict[str, float], absent: tuple[str, ...], open_: str
) -> None:
    found = _judge(differences, absent=absent)
    assert found.word == "not shown to be used"
    told = f"; whether the markers suffice is open; not run: {open_}."
    assert found.sentence.endswith(told) if open_ else "is open" not in found.sentence


def test_no_latents() -> None:
    found = verdict(_figures({}), False)
    assert (found.word, found.reasons) == ("no latents", ())
    assert found.sentence.startswith("The method has no latents")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, f"used: answers are about as good without the latents ({NOTHING})."),
        ({"drop": 0.1}, "used: answers are even better without the latents (+10.0 points"),
        # Read, and not needed.
        ({"swap": MUCH}, f"used: answers get worse with another record's latents ({TOLD}), but answers are"),
        ({"drop": MUCH, "markers_only": MUCH, "zeros": MUCH}, "get worse without the latents (-30.0 points"),
        ({"drop": MUCH, "markers_only": MUCH, "zeros": MUCH}, "and under 2 of 7 other conditions that the"),
        ({**USED, "swap": SAME}, "under 6 of 7 other conditions that the rule asks for, least with zeros ("),
        # The smallest loss decides, and of equal ones the first of the rule.
        ({**USED, "swap": -0.01, "mean": SAME}, "but answers are about as good with mean latents"),
        ({**USED, "swap": SAME, "zeros": SAME}, "answers are about as good with another record's latents"),
        # A wide interval is not called as good. Holm: 2 x 0.5^10 x 14 = 0.03 is the first below 0.05.
        ({"drop": -0.04}, "are too few records to tell whether answers get worse without the latents (-4.0"),
        ({"drop": -0.04}, "; at best, 500 records can show a fall of 2.0 points."),
        # Beside seven that fall the correction is for the six that were not run: 2 x 0.5^9 x 7 = 0.03.
        ({**USED, "zeros": -0.04}, "too few records to tell whether answers get worse with zeros (-4"),
        ({**USED, "zeros": -0.04}, "; at best, 500 records can show a fall of 1.8 points."),
    ],
)
def test_why_use_is_not_shown(changed: dict[str, float], told: str) -> None:
    found = _judge({**UNUSED, **changed})
    assert found.word == "not shown to be used"
    assert told in found.sentence


@pytest.mark.parametrize(
    ("correct", "total", "told"),
    [
        # Intervals of no width, which say nothing.
        (30, 40, "at best, 40 records can show a fall of 25.0 points"),
        (9, 500, "the model is right on 9 of 500 records, and a fall can be shown from 10 lost answers on"),
        (10, 500, "answers are about as good without the latents"),
    ],
)
def test_equal_answers_of_few_records_are_not_called_as_good(correct: int, total: int, told: str) -> None:
    assert told in verdict(_figures(UNUSED, correct, total), True).sentence


def test_answers_without_a_span_have_a_reason_of_their_own() -> None:
    replaced = {name: NO_LATENTS for name in NAMES if name not in ("drop", "markers_only")}
    found = verdict(_figures({"drop": SAME, "markers_only": SAME}), True, replaced)
    assert found.word == "not shown to be used"
    assert "no answer opened a latent span" in found.sentence


def test_what_was_not_run_does_not_change_the_verdict() -> None:
    """A p value stands for the same among few conditions as among all."""
    few = verdict(_figures({"drop": MUCH, "markers_only": LITTLE}), True)
    assert few.word == "markers suffice"


def test_markers_that_suffice_beside_latents_that_mislead() -> None:
    found = _judge({**UNUSED, "drop": MUCH, "swap": MUCH})
    assert found.word == "markers suffice"
    assert "it is misled with another record's latents (" in found.sentence
    assert "misled" not in _judge({**UNUSED, "drop": MUCH}).sentence


def test_each_reason_says_what_was_found() -> None:
    reasons = _judge({**USED, "zeros": SAME}).reasons
    assert [reason.split(":")[0] for reason in reasons] == list(NAMES)
    assert reasons[0] == f"drop: {TOLD}: falls, passed"
    assert reasons[2].startswith(f"zeros: {NOTHING}: does not fall, not passed; its interval lies above -7.5")


def test_the_rule_is_said_with_all_that_it_asks_for() -> None:
    for part in (*NAMES, "Holm", "McNemar", "95 %"):
        assert part in RULE
