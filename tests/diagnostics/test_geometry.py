"""Figures of latents on planted clouds, and against loops over pairs.

Breaks when: latents are not centred before their rank is taken, records weigh by their number of latents, a
vector of zeros counts as a direction, or a figure stands where there is none.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.diagnostics.geometry import TARGET_NOTE, Geometry, geometry, rows, variances
from latentvr.diagnostics.reading import Reading
from latentvr.errors import UserError

WIDTH = 8
EMBEDDING = torch.diag(torch.arange(1.0, 6.0))  # lengths 1 to 5


def cloud(*sizes: int, width: int = WIDTH, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, width, generator=generator) for size in sizes]


def of(latents: list[Tensor], **named: Any) -> Geometry:
    return geometry(latents, EMBEDDING, **named)


def reading(mass: float, to_image: float | None = None, enrichment: float | None = None) -> Reading:
    return Reading(mass, torch.tensor([mass]), to_image, enrichment, {})


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=0))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("sizes", [(3, 2), (40, 1, 30), (5, 3)], ids=str)
def test_rank_is_that_of_the_centred_singular_values(sizes: tuple[int, ...]) -> None:
    """With fewer latents than numbers in each, with more, and with as many."""
    latents = [rows_ND * torch.arange(1, WIDTH + 1) + 5 for rows_ND in cloud(*sizes)]
    pooled = torch.cat(latents).double()
    values = torch.linalg.svdvals(pooled - pooled.mean(0))
    shares = [float(value / values.sum()) for value in values]
    wanted = math.exp(-sum(share * math.log(share) for share in shares if share > 1e-9))
    held = (values.square().cumsum(0) / values.square().sum()).tolist()
    found = of(latents)
    assert found.effective_rank == pytest.approx(wanted, rel=1e-5)
    assert found.rank_90 == 1 + next(i for i, share in enumerate(held) if share >= 0.9)


@pytest.mark.parametrize("copies", [1, 5])
def test_as_many_even_dimensions_are_found_as_were_planted(copies: int) -> None:
    """Both signs of four axes: all four hold the same, and one more or less is not 90 %."""
    axes = torch.cat([torch.eye(WIDTH)[:4], -torch.eye(WIDTH)[:4]]) + 3
    found = of([axes] * copies)
    assert found.effective_rank == pytest.approx(4, abs=1e-6)
    assert found.rank_90 == 4
    line = torch.arange(6.0)[:, None] * torch.ones(WIDTH) + 2
    assert of([line]).effective_rank == pytest.approx(1, abs=1e-6)
    assert of([line]).rank_90 == 1


def test_components_hold_exactly_90_percent() -> None:
    """Variances of 8, 1 and 1: two hold 90 % exactly, although no binary number is 0.9."""
    rows_ND = torch.zeros(6, WIDTH)
    for axis, variance in enumerate((8.0, 1.0, 1.0)):
        rows_ND[2 * axis : 2 * axis + 2, axis] = torch.tensor([1.0, -1.0]) * variance**0.5
    assert of([rows_ND]).rank_90 == 2


@pytest.mark.parametrize("records", [1, 30])
def test_a_collapse_to_one_point_has_no_dimension_and_cosines_of_one(records: int) -> None:
    """The same latent, but for the rounding of float32, which no two batches share."""
    point = 10 * cloud(1)[0]
    latents = [point * (1 + 1e-7 * noise) for noise in cloud(*[4] * (records + 1), seed=1)]
    found = of(latents)
    assert (found.effective_rank, found.rank_90) == (0.0, 0)
    assert found.adjacent_cosine == pytest.approx(1)
    assert found.mutual_cosine == pytest.approx(1)
    assert found.record_cosine == pytest.approx(1)


def test_a_collapse_of_slots_alone_differs_from_one_of_records_alone() -> None:
    points = torch.eye(WIDTH)
    slots = of([points[i : i + 1].repeat(3, 1) for i in range(WIDTH)])
    assert slots.mutual_cosine == pytest.approx(1)
    assert slots.record_cosine == pytest.approx(0, abs=1e-9)
    records = of([points[:3]] * 5)
    assert records.mutual_cosine == pytest.approx(0, abs=1e-9)
    assert records.record_cosine == pytest.approx(1)


def test_cosines_are_those_of_loops_over_pairs() -> None:
    latents = cloud(5, 2, 7, 1, 0)
    pairs = [[cosine(a, b) for i, a in enumerate(one) for b in one[:i]] for one in latents if len(one) > 1]
    neighbours = [[cosine(a, b) for a, b in zip(one[1:], one[:-1], strict=True)] for one in latents[:3]]
    means = [one.mean(0) for one in latents if len(one)]
    found = of(latents)
    assert found.mutual_cosine == pytest.approx(mean([mean(of_record) for of_record in pairs]))
    assert found.adjacent_cosine == pytest.approx(mean([mean(of_record) for of_record in neighbours]))
    assert found.record_cosine == pytest.approx(
        mean([cosine(a, b) for i, a in enumerate(means) for b in means[:i]]), abs=1e-6
    )
    assert len({found.mutual_cosine, found.adjacent_cosine, found.record_cosine}) == 3


def test_zeros_have_no_direction() -> None:
    one, two = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    found = of([torch.stack([one, torch.zeros(2), two])])
    assert found.adjacent_cosine is None
    assert found.mutual_cosine == pytest.approx(2**-0.5)
    nothing = of([torch.zeros(3, WIDTH)] * 3)
    assert (nothing.mutual_cosine, nothing.adjacent_cosine, nothing.record_cosine) == (None, None, None)
    assert (nothing.effective_rank, nothing.latent_norm, nothing.norm_ratio) == (0.0, 0.0, 0.0)


def test_lengths_are_medians() -> None:
    latents = [torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[60.0, 80.0]]), torch.zeros(0, 2)]
    found = of(latents)
    assert (found.latent_norm, found.embedding_norm, found.norm_ratio) == (5.0, 3.0, pytest.approx(5 / 3))
    assert geometry(latents, torch.zeros(3, 2)).norm_ratio is None
    assert geometry(latents, EMBEDDING.bfloat16()).embedding_norm == 3.0


def test_distances_count_latents_and_leave_out_records_without_targets() -> None:
    latents = [torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.ones(4, 2), torch.tensor([[0.0, 1.0]])]
    targets = [torch.tensor([[1.0, 0.0], [0.0, 2.0]]), None, torch.tensor([[0.0, 4.0]])]
    found = of(latents, targets=targets)
    assert found.target_error == pytest.approx((0 + 4 + 4.5) / 3)
    assert found.target_cosine == pytest.approx(2 / 3)
    assert of(latents, targets=[None] * 3).target_error is None


def test_targets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match=r"targets of shape \(3, 8\), got \(2, 8\), at record 1"):
        of(cloud(2, 3), targets=cloud(2, 2))
    with pytest.raises(ValueError, match="shorter"):
        of(cloud(2, 3), targets=cloud(2))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_latents_that_are_no_numbers_are_refused(value: float) -> None:
    latents = cloud(2, 3)
    latents[1][0, 0] = value
    with pytest.raises(UserError, match="finite latents, got NaN or Inf, at record 1"):
        of(latents)


def test_attention_is_the_mean_over_the_records_that_have_it() -> None:
    readings = [reading(0.5, 0.2, 3.0), reading(0.0), reading(0.1, 0.4)]
    found = of(cloud(1, 0, 1), readings=readings)
    assert found.mass == pytest.approx(0.2)
    assert found.to_image == pytest.approx(0.3)
    assert (found.enrichment, found.with_boxes) == (3.0, 1)


@pytest.mark.parametrize("latents", [[], [torch.zeros(0, WIDTH)], [torch.zeros(0, WIDTH)] * 3], ids=len)
def test_without_latents_nothing_applies_but_the_embedding(latents: list[Tensor]) -> None:
    found = of(latents)
    assert (found.records, found.latents, found.embedding_norm) == (len(latents), 0, 3.0)
    shown = dict(rows(found))
    assert shown.pop("latents") == f"0 in {len(latents)} records, 0.0 per record"
    assert shown.pop("length of an input embedding, median") == "3"
    assert set(shown.values()) == {"does not apply"}


def test_a_single_latent_has_a_length_and_no_spread() -> None:
    assert variances(cloud(1)) is None
    found = of(cloud(1, 0))
    assert (found.effective_rank, found.rank_90, found.mutual_cosine, found.record_cosine) == (None,) * 4
    assert found.latent_norm is not None


def test_every_figure_is_shown() -> None:
    latents = cloud(3, 2)
    found = of(latents, targets=cloud(3, 2, seed=1), readings=[reading(0.25, 0.5, 1.5)] * 2)
    shown = dict(rows(found))
    assert "does not apply" not in shown.values()
    assert shown["latents"] == "5 in 2 records, 2.5 per record"
    assert shown["effective rank"] == f"{found.effective_rank:.1f} dimensions"
    assert shown["attention from answers to latents"] == "0.250 of 1"
    assert shown["density of that attention inside the boxes"] == "1.50 times the even one, 2 records"
    assert len(shown) == 14


def test_the_note_says_which_way_the_distance_goes() -> None:
    assert "r = -0.94" in TARGET_NOTE
    assert "lower is accuracy" in TARGET_NOTE


def test_latents_in_half_precision_are_looked_at_in_full() -> None:
    whole = [rows_ND.bfloat16() for rows_ND in cloud(30, 30)]
    found, wanted = of(whole), of([rows_ND.float() for rows_ND in whole])
    assert found == wanted
