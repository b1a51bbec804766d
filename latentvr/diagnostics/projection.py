"""Latents in two dimensions: each record's mean latent, by PCA and by t-SNE.

Shapes: N records, D width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from latentvr.diagnostics.probes import require_sklearn

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float64]
_TITLES = ("PCA of mean latents", "t-SNE of mean latents")
_LEAST = 5
_PERPLEXITY = 30.0
# Principal components that t-SNE takes, for speed (van der Maaten & Hinton 2008 take 30).
_COMPONENTS = 50


@dataclass(frozen=True)
class Projection:
    """Records as points in a plane.

    Attributes:
        title: what it is.
        points: (x, y) of each record; none where it could not be made.
        labels: what colours each point.
        note: how to read it, or why there are no points.
    """

    title: str
    points: tuple[tuple[float, float], ...]
    labels: tuple[str, ...]
    note: str


def projections(
    latents: Sequence[Tensor], labels: Sequence[str], seed: int = 0, limit: int = 1000
) -> tuple[Projection, ...]:
    """Lay the records' mean latents out in a plane.

    Args:
        latents: (slots, D) for each record; those without slots are left out, and the note says so.
        labels: what colours each record, such as its answer.
        seed: for t-SNE, and for which records are drawn where there are more than `limit`.
        limit: most points.

    Returns:
        PCA, whose note gives the share of variance on each axis, and t-SNE (van der Maaten & Hinton 2008)
        that starts from it.

    Raises:
        UserError: scikit-learn is missing.
    """
    require_sklearn()
    pairs = [(k, label) for k, label in zip(latents, labels, strict=True) if len(k)]
    left_out = _left_out(len(latents) - len(pairs), len(pairs), limit)
    if len(pairs) > limit:
        chosen = np.random.default_rng(seed).choice(len(pairs), limit, replace=False)
        pairs = [pairs[i] for i in sorted(chosen.tolist())]
    reason, points_ND = f"fewer than {_LEAST} records have latents", np.zeros((0, 0))
    if len(pairs) >= _LEAST:
        points_ND = np.stack([k.detach().double().mean(dim=0).cpu().numpy() for k, _ in pairs])
        reason = _hindrance(points_ND)
    if reason:
        return tuple(Projection(title, (), (), f"Not drawn: {reason}.{left_out}") for title in _TITLES)
    names = tuple(label for _, label in pairs)
    return tuple(
        Projection(title, tuple((float(x), float(y)) for x, y in plane), names, note + left_out)
        for title, (plane, note) in zip(_TITLES, (_pca(points_ND), _tsne(points_ND, seed)), strict=True)
    )


def _left_out(empty: int, full: int, limit: int) -> str:
    said = f" Left out, without latents: {empty}." if empty else ""
    return said + (f" Drawn by chance: {limit} of {full}." if full > limit else "")


def _hindrance(points_ND: Floats) -> str:
    if not np.isfinite(points_ND).all():
        return "latents are not finite"
    # What rounding in single precision leaves between equal latents is no structure.
    if (points_ND.std(axis=0) <= 1e-6 * np.abs(points_ND).max(axis=0)).all():
        return "the mean latents of all records are the same"
    return ""


def _components(points_ND: Floats, count: int) -> tuple[Floats, Floats]:
    """Coordinates on the principal axes and the share of variance on each; 0 on axes that there are not."""
    from sklearn.decomposition import PCA

    there = min(count, *points_ND.shape)
    pca = PCA(there, svd_solver="full").fit(points_ND)
    coordinates = np.pad(pca.transform(points_ND), ((0, 0), (0, count - there)))
    return coordinates, np.pad(pca.explained_variance_ratio_, (0, count - there))


def _pca(points_ND: Floats) -> tuple[Floats, str]:
    plane_N2, shares = _components(points_ND, 2)
    return plane_N2, f"{shares[0]:.1%} of the variance lies along x, {shares[1]:.1%} along y."


def _tsne(points_ND: Floats, seed: int) -> tuple[Floats, str]:
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(points_ND) - 1) / 3)
    coordinates, _ = _components(points_ND, _COMPONENTS)
    tsne = TSNE(2, init="pca", perplexity=perplexity, random_state=seed, n_jobs=1)
    plane_N2 = tsne.fit_transform(coordinates.astype(np.float32))
    note = f"Perplexity {perplexity:.3g}; only who is near whom means something, not sizes or distances."
    return plane_N2.astype(np.float64), note
