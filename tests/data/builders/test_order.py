"""Which candidates become records."""

from collections import Counter

import numpy as np
import pytest

from latentvr.data.builders.builder import Candidate
from latentvr.data.builders.order import Quota, interleaved, passes, quotas, require_unique, shuffled
from latentvr.errors import RecordError


def _listed(**counts: int) -> list[Candidate]:
    return [Candidate(f"{name}{i}", {}, name) for name, count in counts.items() for i in range(count)]


def _taken(candidates: list[Candidate], size: int | None, shares: dict[str, float]) -> list[Candidate]:
    quota, out = Quota(size, shares), []
    for candidate in passes(interleaved(candidates, shares), quota):
        quota.accept(candidate.stratum)
        out.append(candidate)
    return out


def test_the_order_does_not_depend_on_how_the_candidates_were_listed() -> None:
    listed = _listed(a=20)
    orders = [shuffled(each, np.random.default_rng(7)) for each in (listed, listed[::-1])]
    assert orders[0] == orders[1] != listed


def test_equal_shares() -> None:
    taken = _taken(_listed(a=50, b=50, c=50), 31, {"a": 1, "b": 1, "c": 1})
    assert sorted(Counter(each.stratum for each in taken).values()) == [10, 10, 11]


def test_a_share_of_a_quarter() -> None:
    taken = _taken(_listed(same=50, different=200), 100, {"same": 0.25, "different": 0.75})
    assert Counter(each.stratum for each in taken) == {"same": 25, "different": 75}


def test_every_stretch_holds_the_shares() -> None:
    order = interleaved(_listed(same=25, different=75), {"same": 0.25, "different": 0.75})
    for start in range(0, 100, 20):
        assert abs(sum(each.stratum == "same" for each in order[start : start + 20]) - 5) <= 1


def test_what_a_dry_stratum_lacks_is_taken_from_the_others_equally() -> None:
    taken = _taken(_listed(a=2, b=50, c=50), 30, {"a": 1, "b": 1, "c": 1})
    assert Counter(each.stratum for each in taken) == {"a": 2, "b": 14, "c": 14}


def test_without_a_size_everything_is_taken() -> None:
    assert len(_taken(_listed(a=3, b=9), None, {"a": 1, "b": 1})) == 12


def test_rejected_candidates_do_not_count() -> None:
    shares, seen = {"a": 1.0, "b": 1.0}, []
    quota = Quota(10, shares)
    for number, candidate in enumerate(passes(interleaved(_listed(a=40, b=40), shares), quota)):
        if number % 3 == 0:
            quota.accept(candidate.stratum)
            seen.append(candidate.stratum)
    assert Counter(seen) == {"a": 5, "b": 5}


@pytest.mark.parametrize("size", [0, 1, 7, 100])
def test_quotas_add_up(size: int) -> None:
    assert sum(quotas({"a": 1, "b": 2.5, "c": 0.1}, size).values()) == size


def test_a_key_that_occurs_twice_is_refused() -> None:
    with pytest.raises(RecordError, match="expected every source item once, got 'a0' twice"):
        require_unique([*_listed(a=2), *_listed(a=1)])
