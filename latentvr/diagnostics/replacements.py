"""What takes the place of a model's own latents: pure functions of what was recorded.

Everything that is drawn depends on the seed and the record's place alone, never on batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from latentvr.diagnostics.recorded import Given, Latents, NotApplicable, Recorded, drawn


def each(recorded: Recorded, change: Callable[[Tensor], Tensor]) -> Given:
    """Change each span by itself."""
    return lambda place: [change(span) for span in recorded.latents[place]]


def zeros(recorded: Recorded) -> Given:
    """Zeros in as many slots."""
    return each(recorded, torch.zeros_like)


def mean(recorded: Recorded) -> Given:
    """The mean of each slot over the data (mean ablation)."""
    _require_two(recorded)
    return each(recorded, lambda span: recorded.moments(span.shape[-2])[0].to(span.dtype))


def noise_matched(recorded: Recorded, seed: int) -> Given:
    """Gaussian noise with the mean and the standard deviation of each slot, dimension by dimension."""
    _require_two(recorded)

    def noise(place: int) -> Latents:
        generator = drawn(seed, place)
        out = []
        for span in recorded.latents[place]:
            middle, deviation = recorded.moments(span.shape[-2])
            out.append((middle + deviation * _normal(span, generator)).to(span.dtype))
        return out

    return noise


def noise_norm(recorded: Recorded, seed: int) -> Given:
    """A random direction with each latent's own norm."""

    def noise(place: int) -> Latents:
        generator = drawn(seed, place)
        out = []
        for span in recorded.latents[place]:
            direction = _normal(span, generator)
            norm = span.float().norm(dim=-1, keepdim=True)
            out.append((direction * (norm / direction.norm(dim=-1, keepdim=True))).to(span.dtype))
        return out

    return noise


def swap(recorded: Recorded, seed: int, same_count: bool) -> Given:
    """The latents of another record with another answer, of the same task where it has one.

    Args:
        recorded: with answers and tasks.
        seed: of the draw.
        same_count: take records with as many slots alone, as prompts need.

    Returns:
        Latents by place.

    Raises:
        NotApplicable: a record has no such other.
    """
    groups: dict[object, list[int]] = {}
    for place, own in enumerate(recorded.latents):
        if own:
            shape = tuple(span.shape for span in own) if same_count else None
            for key in ((recorded.tasks[place], shape), (None, shape)):
                groups.setdefault(key, []).append(place)
    donors = {}
    for place, own in enumerate(recorded.latents):
        if own:
            shape = tuple(span.shape for span in own) if same_count else None
            near, far = (groups[key] for key in ((recorded.tasks[place], shape), (None, shape)))
            donors[place] = _donor(recorded, place, near, far, drawn(seed, place))
    return lambda place: recorded.latents[donors[place]] if place in donors else []


def _donor(
    recorded: Recorded, place: int, near: Sequence[int], far: Sequence[int], generator: torch.Generator
) -> int:
    """Draw the record whose latents another one gets: out of `near`, or where that has none out of `far`."""
    for group in (near, far):
        able = [other for other in group if recorded.answers[other] != recorded.answers[place]]
        if able:
            return able[int(torch.randint(len(able), (1,), generator=generator))]
    raise NotApplicable("a record finds no other one with another answer and as many slots")


def first_repeat(recorded: Recorded) -> Given:
    """The first latent of each span in all its slots."""
    if all(span.shape[-2] < 2 for span in recorded.spans()):
        raise NotApplicable("no record has more than one latent slot")
    return each(recorded, lambda span: span[..., :1, :].expand_as(span))


def top_k(recorded: Recorded, attention: Sequence[Tensor], k: int) -> Given:
    """The mean over the data in the k slots that the answer attends to most; the other slots stay.

    Args:
        recorded: all latents.
        attention: from the answer to each slot of a record (K,), spans one after another.
        k: number of slots that lose their latents.

    Returns:
        Latents by place.

    Raises:
        NotApplicable: no record has more than k slots.
    """
    if all(sum(span.shape[-2] for span in spans) <= k for spans in recorded.latents):
        raise NotApplicable(f"no record has more than k = {k} latent slots, so that none would stay")
    means = mean(recorded)

    def changed(place: int) -> Latents:
        own, average = recorded.latents[place], means(place)
        counts = [span.shape[-2] for span in own]
        taken = torch.zeros(sum(counts), dtype=torch.bool)
        taken[attention[place].topk(min(k, len(taken))).indices] = True
        return [
            torch.where(part.to(span.device).unsqueeze(-1), other, span)
            for span, other, part in zip(own, average, taken.split(counts), strict=True)
        ]

    return changed


def _require_two(recorded: Recorded) -> None:
    if sum(any(span.shape[-2] for span in spans) for spans in recorded.latents) < 2:
        raise NotApplicable("the mean over the data needs two records with latents")


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device)
