"""How latents lie in space: whether they have collapsed, how long they are, how far from their targets.

The figures come from the latents alone; those of attention are means of readings.

Shape letters: N latents of a record, D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentvr.diagnostics.reading import Reading
from latentvr.errors import UserError

TARGET_NOTE = (
    "The distance to the targets says how well the training target was met, not how good latents are: over "
    "models, the nearer latents are to their targets, the lower is accuracy (r = -0.94, arXiv 2606.05753)."
)
#: Variances below this share of the summed squared lengths are taken for rounding of float32.
ROUNDING = 1e-12
#: Rows of the embedding matrix that are looked at together.
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Geometry:
    """Figures of the latents of several records; None where one does not apply.

    A latent of zeros has no direction: no cosine counts it.

    Attributes:
        records: number of records, those without latents included.
        latents: number of latents in all.
        effective_rank: of the pooled latents, centred; 0 where all are the same.
        rank_90: principal components that hold 90 % of the variance of the pooled latents.
        adjacent_cosine: mean over neighbouring latents of a record, then over records.
        mutual_cosine: mean over all pairs of latents of a record, then over records.
        record_cosine: mean over all pairs of records, of the cosine of their mean latents.
        latent_norm: median length of a latent.
        embedding_norm: median length of a row of the input embedding.
        target_error: squared difference to the target, mean over numbers and latents.
        target_cosine: cosine with the target, mean over latents.
        mass: mean attention from answers to latents.
        to_image: mean attention from latents to visual tokens.
        enrichment: mean of how much denser that attention is inside the boxes.
        with_boxes: number of records behind `enrichment`.
    """

    records: int
    latents: int
    effective_rank: float | None
    rank_90: int | None
    adjacent_cosine: float | None
    mutual_cosine: float | None
    record_cosine: float | None
    latent_norm: float | None
    embedding_norm: float
    target_error: float | None
    target_cosine: float | None
    mass: float | None
    to_image: float | None
    enrichment: float | None
    with_boxes: int

    @property
    def norm_ratio(self) -> float | None:
        """Median length of a latent over that of an embedding row."""
        if self.latent_norm is None or not self.embedding_norm:
            return None
        return self.latent_norm / self.embedding_norm


def geometry(
    latents: Sequence[Tensor],
    embedding_weight_VD: Tensor,
    targets: Sequence[Tensor | None] | None = None,
    readings: Sequence[Reading] | None = None,
) -> Geometry:
    """All figures of the latents of several records.

    Args:
        latents: (N, D) for each record; N may differ and may be 0.
        embedding_weight_VD: the input embedding, whose length is a yardstick.
        targets: what each latent was trained towards, of the same shapes; None for a record without any.
        readings: those of the records, for the means of attention.

    Returns:
        The figures.

    Raises:
        UserError: latents are not finite, or targets do not fit them.
    """
    _require_finite(latents)
    spread = variances(latents)
    norms = torch.cat([_norms(rows_ND) for rows_ND in latents]) if latents else torch.zeros(0)
    means = [rows_ND.double().mean(0) for rows_ND in latents if len(rows_ND)]
    error, cosine = _distances(latents, [None] * len(latents) if targets is None else targets)
    seen = readings or ()
    boxed = [one.enrichment for one in seen if one.enrichment is not None]
    return Geometry(
        records=len(latents),
        latents=len(norms),
        effective_rank=None if spread is None else effective_rank(spread),
        rank_90=None if spread is None else rank_90(spread),
        adjacent_cosine=_mean([adjacent_cosine(rows_ND) for rows_ND in latents]),
        mutual_cosine=_mean([mutual_cosine(rows_ND) for rows_ND in latents]),
        record_cosine=mutual_cosine(torch.stack(means)) if means else None,
        latent_norm=float(norms.quantile(0.5)) if len(norms) else None,
        embedding_norm=float(_norms(embedding_weight_VD).quantile(0.5)),
        target_error=error,
        target_cosine=cosine,
        mass=_mean([one.mass for one in seen]),
        to_image=_mean([one.to_image for one in seen]),
        enrichment=_mean(boxed),
        with_boxes=len(boxed),
    )


def variances(latents: Sequence[Tensor]) -> Tensor | None:
    """Variances of the pooled latents along their principal components, up to a common factor.

    They are eigenvalues of the smaller one of the two Gram matrices, in double precision; the one of width D
    is summed record by record.

    Args:
        latents: (N, D) for each record.

    Returns:
        As many as the smaller of the number of latents and D; None with fewer than two latents.
    """
    count = sum(len(rows_ND) for rows_ND in latents)
    if count < 2:
        return None
    sums = torch.stack([rows_ND.double().sum(0) for rows_ND in latents])
    mean_D = sums.sum(0) / count
    scale = sum(float(rows_ND.double().square().sum()) for rows_ND in latents)
    if count <= len(mean_D):
        pooled_ND = torch.cat([rows_ND.double() for rows_ND in latents]) - mean_D
        gram = pooled_ND @ pooled_ND.T
    else:
        gram = mean_D.new_zeros(len(mean_D), len(mean_D))
        for rows_ND in latents:
            apart_ND = rows_ND.double() - mean_D
            gram.addmm_(apart_ND.T, apart_ND)
    found = torch.linalg.eigvalsh(gram)
    return torch.where(found > ROUNDING * scale, found, 0.0)


def effective_rank(spread: Tensor) -> float:
    """Exponential of the entropy of the singular values, normalised to sum 1 (Roy & Vetterli 2007).

    Args:
        spread: from `variances`: squared singular values, up to a common factor.

    Returns:
        From 1 to the number of values; 0 where all are 0.
    """
    values = spread.sqrt()
    total = values.sum()
    return float(torch.special.entr(values / total).sum().exp()) if float(total) else 0.0


def rank_90(spread: Tensor) -> int:
    """How many of the largest variances make up 90 % of their sum; 0 where all are 0.

    Args:
        spread: from `variances`.

    Returns:
        A number of components.
    """
    total = float(spread.sum())
    reached = spread.sort(descending=True).values.cumsum(0) >= (0.9 - 1e-6) * total
    return int(reached.int().argmax()) + 1 if total else 0


def adjacent_cosine(rows_ND: Tensor) -> float | None:
    """Mean cosine of neighbours.

    Args:
        rows_ND: vectors in their order.

    Returns:
        Between -1 and 1; None without two neighbours that are not zero.
    """
    unit_ND, there_N = _directions(rows_ND)
    both = there_N[1:] & there_N[:-1]
    return float((unit_ND[1:] * unit_ND[:-1]).sum(-1)[both].mean()) if bool(both.any()) else None


def mutual_cosine(rows_ND: Tensor) -> float | None:
    """Mean cosine over all pairs, without looking at pairs: |sum of units|^2 holds each of them twice.

    Args:
        rows_ND: vectors.

    Returns:
        Between -1 and 1; None without two vectors that are not zero.
    """
    unit_ND, there_N = _directions(rows_ND)
    count = int(there_N.sum())
    return (float(unit_ND.sum(0).square().sum()) - count) / (count * (count - 1)) if count > 1 else None


def rows(figures: Geometry) -> list[tuple[str, str]]:
    """The figures as lines of a table.

    Args:
        figures: what to show.

    Returns:
        Name and value with its unit; "does not apply" where there is no value.
    """
    each = figures.latents / figures.records if figures.records else 0.0
    return [
        ("latents", f"{figures.latents} in {figures.records} records, {each:.1f} per record"),
        ("effective rank", _shown(figures.effective_rank, "{:.1f} dimensions")),
        ("components for 90 % of the variance", _shown(figures.rank_90, "{}")),
        ("cosine of neighbouring latents", _shown(figures.adjacent_cosine, "{:.3f}")),
        ("cosine of latents of one record", _shown(figures.mutual_cosine, "{:.3f}")),
        ("cosine of mean latents of two records", _shown(figures.record_cosine, "{:.3f}")),
        ("length of a latent, median", _shown(figures.latent_norm, "{:.3g}")),
        ("length of an input embedding, median", _shown(figures.embedding_norm, "{:.3g}")),
        ("length of a latent over that of an embedding", _shown(figures.norm_ratio, "{:.3g} times")),
        ("squared distance to the target, per number", _shown(figures.target_error, "{:.3g}")),
        ("cosine with the target", _shown(figures.target_cosine, "{:.3f}")),
        ("attention from answers to latents", _shown(figures.mass, "{:.3f} of 1")),
        ("attention from latents to images", _shown(figures.to_image, "{:.3f} of 1")),
        (
            "density of that attention inside the boxes",
            _shown(figures.enrichment, f"{{:.2f}} times the even one, {figures.with_boxes} records"),
        ),
    ]


def _shown(value: float | None, pattern: str) -> str:
    return "does not apply" if value is None else pattern.format(value)


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of those that there are."""
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None


def _require_finite(latents: Sequence[Tensor]) -> None:
    for number, rows_ND in enumerate(latents):
        if not bool(rows_ND.isfinite().all()):
            raise UserError(
                f"expected finite latents, got NaN or Inf, at record {number} of the geometry of latents; "
                "fix: look for the step of training that broke the weights, or use model.dtype=float32"
            )


def _norms(rows_ND: Tensor) -> Tensor:
    """Lengths (N,) in float32 on the CPU, without a copy of a large matrix in another precision."""
    parts = rows_ND.detach().split(ROWS_AT_ONCE)
    return torch.cat([torch.linalg.vector_norm(part.float(), dim=-1).cpu() for part in parts])


def _directions(rows_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of length 1 in double precision, and which have one: zeros stay zeros."""
    rows_ND = rows_ND.double()
    norms_N1 = torch.linalg.vector_norm(rows_ND, dim=-1, keepdim=True)
    there_N1 = norms_N1 > 0
    return rows_ND / norms_N1.where(there_N1, 1.0), there_N1[:, 0]


def _distances(
    latents: Sequence[Tensor], targets: Sequence[Tensor | None]
) -> tuple[float | None, float | None]:
    """Mean squared difference and mean cosine of latents and their targets."""
    errors, cosines = [], []
    for number, (rows_ND, target_ND) in enumerate(zip(latents, targets, strict=True)):
        if target_ND is None:
            continue
        if target_ND.shape != rows_ND.shape:
            raise UserError(
                f"expected targets of shape {tuple(rows_ND.shape)}, got {tuple(target_ND.shape)}, at record "
                f"{number} of the geometry of latents; fix: give a target for each latent"
            )
        errors.append((rows_ND.double() - target_ND.double()).square().mean(-1))
        (mine, there), (theirs, also) = _directions(rows_ND), _directions(target_ND)
        cosines.append((mine * theirs).sum(-1)[there & also])
    return _mean(torch.cat(errors).tolist() if errors else []), _mean(
        torch.cat(cosines).tolist() if cosines else []
    )
