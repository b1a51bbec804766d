r"""Mathematical answers are compared by value, and nothing that a model writes keeps the comparison busy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from latentvr.data.record import Record
from latentvr.errors import RecordError
from latentvr.evaluation import math
from latentvr.evaluation.extract import expected_answer, extract, is_correct
from latentvr.evaluation.metrics import judge
from latentvr.evaluation.time_limit import limited


def record(answer: str) -> Record:
    return Record("r1", "t", "test", (), "?", answer, "math")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (r"\frac{1}{2}", r"so \boxed{0.5}"),
        (r"\boxed{\frac{1}{2}}", r"the answer is $\frac{2}{4}$"),
        (r"\{2, 3\}", r"\boxed{2} and \boxed{3}"),
        ("42", "42"),
        ("42", "42."),
        ("42", "the answer is 42"),
        ("42", r"<think> \boxed{41} </think><answer> \boxed{42} </answer>"),
        ("42", "<answer> 42 </answer>"),
        ("<answer> 42 </answer>", "42"),
        ("1,234", r"\boxed{1234}"),
        ("(4, 5)", r"\boxed{(4,5)}"),
        ("x^2+2x+1", r"$1 + 2x + x^2$"),
        ("12 dollars", r"\boxed{12}"),
        ("5 cm", r"\boxed{5 \text{ cm}}"),
        ("60°", r"\boxed{60^\circ}"),
        ("3", r"\(x = 3\)"),
    ],
)
def test_equal_values_are_right(answer: str, text: str) -> None:
    assert is_correct(text, record(answer)) is True


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        ("42", r"\boxed{41}", False),
        ("(4, 5)", r"\boxed{5}", False),  # TRL would take 5 out of such an answer of a record
        ("2xy", r"\boxed{2}", False),
        ("3", r"\boxed{2} no, \boxed{3}", False),
        ("3", "it is $3$", None),
        ("42", "forty two", None),
        ("42", "I think of 42 sheep", None),
        ("42", "", None),
        ("42", r"\boxed{}", None),
        ("42", r"<answer> </answer> \boxed{42}", None),
    ],
)
def test_others_are_wrong_or_no_answer(answer: str, text: str, found: bool | None) -> None:
    assert is_correct(text, record(answer)) is found
    assert judge(record(answer), text).failed is (found is None)


@pytest.mark.parametrize(
    "answer",
    [
        "42", "-3", "3.5%", r"\frac{1}{2}", "1/2", "(4, 5)", r"\{1,2\}", "x^2", "x=3", "$100", "12 dollars",
        r"2\sqrt{3}", r"\boxed{7}", r"$\pi$", "60°", "A",
    ],
)  # fmt: skip
def test_the_records_own_answer_is_right(answer: str) -> None:
    assert judge(record(answer), answer).correct
    assert judge(record(answer), f"<answer> {answer} </answer>").correct


@pytest.mark.parametrize("answer", ["3", r"\boxed{3}", r"$\frac{6}{2}$", "(4,5)", r"\boxed{\frac12}", "3%"])
@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{3}", r"\boxed{2} no, \boxed{3}", r"the answer is $3$", r"final answer: \(x=3\).",
        "it is $3$", r"\boxed{(4,5)}", r"\boxed{(5,4)}", r"\boxed{\frac12}", r"\boxed{0.5}", r"\boxed{3\%}",
        "nothing", r"\boxed{\text{three}}", r"\boxed{3 \text{ cm}}", r"\boxed{", "$$", r"\boxed{3}\boxed{3}",
    ],
)  # fmt: skip
def test_marked_answers_are_judged_as_trl_judges_them(answer: str, text: str) -> None:
    """TRL reads a bare "(4,5)" of a record as 5; it gets it in a box, as our `solution` column has it."""
    rewards = pytest.importorskip("trl.rewards")
    theirs = rewards.accuracy_reward([[{"content": text}]], [math.boxed(answer)])
    assert [float(judge(record(answer), text).correct)] == theirs


def test_the_answer_is_shown_as_it_was_written() -> None:
    assert extract(r"so \boxed{\frac{2}{4}}", "math") == r"\frac{2}{4}"
    assert expected_answer(record("42")) == "42"


@pytest.mark.parametrize("answer", ["a red cat", "", r"\boxed{}"])
def test_a_record_whose_answer_is_no_mathematics_is_an_error(answer: str) -> None:
    with pytest.raises(RecordError, match=r"type math, got .* at record 'r1'; fix: "):
        expected_answer(record(answer))


@pytest.mark.parametrize("text", ["9^{9^{9^{9}}}", "10000000!", "{" * 900 + "1" + "}" * 900])
def test_what_takes_for_ever_is_wrong(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math, "SECONDS", 0.3)
    assert limited(lambda: judge(record("42"), rf"\boxed{{{text}}}").correct, 5) is False


def test_without_the_package_one_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['math_verify'] = None\n"
        "from latentvr.errors import UserError\nfrom latentvr.evaluation.extract import extract\n"
        "assert extract('3', 'number') == '3'\n"
        "try: extract('3', 'math')\nexcept UserError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("expected the package math-verify")
    assert done.stdout.strip().endswith("fix: pip install 'latentvr[rl]'")
