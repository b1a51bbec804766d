"""Latents in a plane: what is drawn, and what is said where nothing can be."""

from __future__ import annotations

import sys
import warnings
from math import isfinite

import numpy as np
import pytest
import torch

from latentvr.diagnostics.projection import Projection, projections
from latentvr.errors import UserError


def clusters(n: int, width: int, seed: int = 0, scale: float = 1.0) -> tuple[list[torch.Tensor], list[str]]:
    """Two clusters that lie far apart, three slots each."""
    generator = torch.Generator().manual_seed(seed)
    labels = ["A" if i % 2 else "B" for i in range(n)]
    centres = [10.0 if label == "A" else -10.0 for label in labels]
    return [scale * (torch.randn(3, width, generator=generator) + c) for c in centres], labels


def finite(found: tuple[Projection, ...]) -> bool:
    return all(isfinite(v) for projection in found for point in projection.points for v in point)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e4])
def test_clusters_stay_apart(scale: float) -> None:
    # Breaks if points and labels are paired wrongly, or the scale of latents decides what counts as near.
    found = projections(*clusters(60, 80, scale=scale))
    assert [p.title for p in found] == ["PCA of mean latents", "t-SNE of mean latents"]
    for projection in found:
        points, is_a = np.array(projection.points), np.array(projection.labels) == "A"
        apart = np.linalg.norm(points[:, None] - points[None], axis=2)
        np.fill_diagonal(apart, np.inf)
        assert (is_a[apart.argmin(axis=1)] == is_a).all()
    assert finite(found)


def test_pca_keeps_distances_in_a_plane_and_says_the_shares() -> None:
    # Breaks if latents are scaled or not averaged first, or the shares are those of other axes.
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((40, 2)) * [3, 1]
    axes, _ = np.linalg.qr(rng.standard_normal((20, 2)))
    rows = torch.tensor(plane @ axes.T + 5)
    shift = torch.tensor(rng.standard_normal(20))
    (pca, _) = projections([torch.stack([row - shift, row + shift]) for row in rows], ["x"] * 40)
    expected = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    points = np.array(pca.points)
    np.testing.assert_allclose(np.linalg.norm(points[:, None] - points[None], axis=2), expected, atol=1e-9)
    shares = np.sort(np.linalg.eigvalsh(np.cov(plane.T)))[::-1] / np.cov(plane.T).trace()
    assert pca.note == f"{shares[0]:.1%} of the variance lies along x, {shares[1]:.1%} along y."


@pytest.mark.parametrize("n", [0, 1, 4])
def test_few_points_are_a_reason(n: int) -> None:
    found = projections(*clusters(n, 10))
    assert [(p.points, p.labels) for p in found] == [((), ())] * 2
    assert all(p.note == "Not drawn: fewer than 5 records have latents." for p in found)


@pytest.mark.parametrize(("n", "width"), [(5, 300), (6, 2), (7, 1), (20, 1)])
def test_few_points_or_dimensions_are_drawn(n: int, width: int) -> None:
    # Breaks if the perplexity exceeds the number of points, or more axes are asked for than there are.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = projections(*clusters(n, width))
    assert [len(p.points) for p in found] == [n, n]
    assert finite(found)


def test_equal_latents_are_a_reason() -> None:
    # Breaks if a spread of zero divides; slots that are fed one learned row have it before the first layer.
    row = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    found = projections([row] * 12, ["x"] * 12)
    assert all(p.note == "Not drawn: the mean latents of all records are the same." for p in found)


def test_small_differences_beside_one_large_dimension_are_drawn() -> None:
    # Breaks if the largest dimension, which decoders are known to have, sets what counts as equal.
    latents, labels = clusters(20, 10, scale=1e-4)
    found = projections([torch.cat([torch.full((3, 1), 1e4), k], dim=1) for k in latents], labels)
    assert [len(p.points) for p in found] == [20, 20]


def test_latents_that_are_not_finite_are_a_reason() -> None:
    latents, labels = clusters(10, 10)
    latents[3][0, 0] = float("nan")
    assert all(p.note == "Not drawn: latents are not finite." for p in projections(latents, labels))


def test_records_without_latents_are_left_out_and_said() -> None:
    latents, labels = clusters(20, 10)
    latents[1] = latents[1][:0]
    for projection in projections(latents, labels):
        assert projection.labels == (labels[0], *labels[2:])
        assert projection.note.endswith(" Left out, without latents: 1.")


def test_more_than_the_limit_are_drawn_by_chance() -> None:
    # Breaks if the first ones are taken, or labels stay behind.
    latents, _ = clusters(40, 10)
    names = [str(i) for i in range(40)]
    first, again, other = (projections(latents, names, seed, limit=15) for seed in (0, 0, 1))
    assert first == again
    assert first[0].labels != other[0].labels
    assert first[0].labels != tuple(names[:15])
    assert [len(p.points) for p in first] == [15, 15]
    assert first[1].note.endswith(" Drawn by chance: 15 of 40.")


def test_half_precision_is_taken() -> None:
    latents, labels = clusters(10, 10)
    assert finite(projections([k.bfloat16() for k in latents], labels))


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match="latentvr"):
        projections([], [])
