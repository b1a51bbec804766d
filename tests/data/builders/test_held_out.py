"""What is held out for validation is held out by groups, and is the same for every order of the rows."""

import numpy as np
import pytest

from latentvr.data.builders.held_out import connected, held_out


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


@pytest.mark.parametrize("turn", [1, -1])
def test_things_with_a_common_part_are_one_group(turn: int) -> None:
    parts = {"q1": ["a"], "q2": ["b"], "q3": ["b", "c"], "q4": ["d"], "q5": ["c", "a"], "q6": [], "q7": ["d"]}
    groups = connected(dict(list(parts.items())[::turn]))
    assert groups == {"q1": "q1", "q2": "q1", "q3": "q1", "q5": "q1", "q4": "q4", "q7": "q4", "q6": "q6"}
