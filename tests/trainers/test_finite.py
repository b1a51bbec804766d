"""A step whose losses or gradient are not finite is refused, by name."""

from __future__ import annotations

import pytest
import torch

from latentvr.errors import NonFiniteError
from latentvr.trainers.finite import Window, listed, require_finite

GOOD, NAN, INF = torch.tensor(1.0), torch.tensor(float("nan")), torch.tensor(float("-inf"))


def test_finite_figures_pass() -> None:
    require_finite(Window([["a"]], [{"ce": GOOD}]), GOOD, 1, "s")
    require_finite(Window([["a"]], [{"ce": GOOD}]), None, 1, "s")


@pytest.mark.parametrize("bad", [NAN, INF])
def test_the_term_and_the_samples_of_its_micro_batch_are_named(bad: torch.Tensor) -> None:
    window = Window([["a", "b"], ["c", "d"]], [{"ce": GOOD, "mse": GOOD}, {"ce": GOOD, "mse": bad}])
    with pytest.raises(NonFiniteError) as error:
        require_finite(window, NAN, 7, "causal")
    assert str(error.value) == (
        "expected finite losses and gradients, got NaN or infinity in 'mse', at step 7 of stage 'causal', "
        "samples c, d; fix: look at these samples, or lower optim.learning_rate; the weights were not changed"
    )
    assert error.value.exit_code == 1


def test_a_gradient_blames_all_samples_of_the_step() -> None:
    window = Window([["a"], ["b"]], [{"ce": GOOD}, {"ce": GOOD}])
    with pytest.raises(NonFiniteError, match=r"in 'gradient', at step 2 of stage 's', samples a, b;"):
        require_finite(window, INF, 2, "s")


def test_terms_that_are_finite_alone_and_not_together_are_refused() -> None:
    large = torch.tensor(3e38)
    with pytest.raises(NonFiniteError, match=r"'ce'.*samples a, b;"):
        require_finite(Window([["a"], ["b"]], [{"ce": large}, {"ce": large}]), GOOD, 1, "s")


def test_a_long_list_of_samples_says_how_many_are_left_out() -> None:
    assert listed([str(i) for i in range(18)]).endswith("14, 15 and 2 more")
    assert listed(["a", "b"]) == "a, b"
