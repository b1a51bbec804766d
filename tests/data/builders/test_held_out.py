"""What is held out for validation is held out by groups, and is the same for every order of the rows."""

import numpy as np
import pytest

from latentvr.data.builders.held_out import held_out


@pytest.mark.parametrize(
    ("groups", "share", "count"),
    [(10, 0.2, 2), (10, 0.0, 0), (10, 0.01, 1), (3, 0.9, 2), (1, 0.5, 0), (0, 0.5, 0)],
)
def test_a_share_of_the_groups_is_kept_back_and_never_all(groups: int, share: float, count: int) -> None:
    names = [f"g{k}" for k in range(groups)]
    kept = held_out([*names, *names], share, np.random.default_rng(0))
    assert len(kept) == count
    assert kept <= set(names)


def test_the_order_of_the_groups_does_not_matter() -> None:
    names = [f"g{k}" for k in range(20)]
    one = held_out(names, 0.3, np.random.default_rng(1))
    assert one == held_out(reversed(names), 0.3, np.random.default_rng(1))
    assert one != held_out(names, 0.3, np.random.default_rng(2))
