"""Which samples share a row.

Breaks when: a row is too long, a sample is lost or comes twice, chance is not seeded, windows are mixed, or
the rule is no better than filling rows in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from latentvr.data.dataset import EncodedDataset
from latentvr.data.encode import EncodedSample
from latentvr.data.packing import Packing, first_fit_decreasing, packed_rows
from latentvr.data.toy import Toy
from latentvr.errors import RecordError


def _mix(count: int, seed: int) -> list[int]:
    """Many short lengths and some long ones."""
    rng = np.random.default_rng(seed)
    long = rng.random(count) < 0.3
    found: list[int] = np.where(long, rng.integers(300, 1001, count), rng.integers(20, 150, count)).tolist()
    return found


def _in_order(lengths: list[int], capacity: int) -> int:
    """Rows that next-fit needs: a new one as soon as a sample does not fit."""
    rows, room = 0, 0
    for length in lengths:
        if length > room:
            rows, room = rows + 1, capacity
        room -= length
    return rows


def test_the_longest_goes_first_into_the_first_row_with_room() -> None:
    assert first_fit_decreasing([3, 7, 2, 5, 2, 7], 10) == [[0, 1], [2, 5], [3, 4]]
    assert first_fit_decreasing([4, 4, 4], 4) == [[0], [1], [2]]
    assert first_fit_decreasing([], 4) == []
    with pytest.raises(ValueError, match="at most 6, got 7"):
        first_fit_decreasing([3, 7], 6)


@pytest.mark.parametrize("seed", range(3))
def test_every_sample_is_in_one_row_that_holds_it(seed: int) -> None:
    lengths = _mix(500, seed)
    rows = packed_rows(lengths, 1000, 128, seed, 0)
    assert sorted(sample for row in rows for sample in row) == list(range(500))
    assert max(sum(lengths[sample] for sample in row) for row in rows) <= 1000
    assert len(rows) < 0.9 * _in_order(lengths, 1000)
    assert len(rows) <= 1.22 * sum(lengths) / 1000 + 4  # 11/9 of the fewest, in each of four windows


def test_rows_are_a_matter_of_seed_and_stage() -> None:
    lengths = _mix(300, 1)
    rows = packed_rows(lengths, 1000, 100, 42, 1)
    assert rows == packed_rows(lengths, 1000, 100, 42, 1)
    assert rows != packed_rows(lengths, 1000, 100, 42, 0)
    assert rows != packed_rows(lengths, 1000, 100, 43, 1)


def test_rows_stay_within_their_window() -> None:
    """A window of one sample is a row each; a wider one joins neighbours of the order alone."""
    lengths = _mix(300, 2)
    order = [row[0] for row in packed_rows(lengths, 1000, 1, 7, 0)]
    assert len(order) == 300
    place = {sample: number for number, sample in enumerate(order)}
    rows = packed_rows(lengths, 1000, 50, 7, 0)
    assert all(len({place[sample] // 50 for sample in row}) == 1 for row in rows)
    assert all([place[s] for s in row] == sorted(place[s] for s in row) for row in rows)
    assert len(packed_rows(lengths, 1000, 300, 7, 0)) <= len(rows) < 300


class _Numbers(EncodedDataset):
    """Samples that are their numbers, of the lengths 5, 6, 7 and so on."""

    def __init__(self, count: int) -> None:
        super().__init__(Toy(["counting"], "train", count, seed=0), None)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        import torch

        one = torch.arange(5 + index)
        roles = torch.zeros(len(one), dtype=torch.int8)
        return EncodedSample(str(index), one, roles, one, one.expand(3, -1), 1, None, torch.zeros(0, 3))


def test_stages_have_rows_of_their_own() -> None:
    packing = Packing(_Numbers(12), [5 + i for i in range(12)], 24, 8, seed=3)
    names = []
    for stage in (0, 1):
        rows = packing.of_stage(stage)
        assert len(rows) == packing.count(stage)
        names.append([sample.id for i in range(len(rows)) for sample in rows[i]])
    assert names[0] != names[1]
    assert sorted(names[0]) == sorted(names[1]) == sorted(str(i) for i in range(12))
    filling = str(packing.filling(0))
    assert filling.startswith(f"12 samples in {packing.count(0)} rows of at most 24 tokens: ")
    assert filling.endswith(f"{100 * 126 / (24 * packing.count(0)):.1f} % filled")


def test_a_sample_longer_than_a_row_is_named() -> None:
    message = "at most 15 tokens, as data.pack_length says, got 16, at record 'counting-train-0-00011'"
    with pytest.raises(RecordError, match=message):
        Packing(_Numbers(12), [5 + i for i in range(12)], 15, 8, seed=3)


def test_a_sample_that_changed_its_length_stops_the_run() -> None:
    rows = Packing(_Numbers(1), [4], 24, 8, seed=3).of_stage(0)
    with pytest.raises(RecordError, match="expected 4 tokens as at the start of the run, got 5, at record"):
        rows[0]
