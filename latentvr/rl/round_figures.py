"""Figures of a round of rollouts, in a form that several ranks can put together.

Shape letters: B completions, F reward functions, K quantities, N values, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf, sqrt

import torch
from torch import Tensor

from latentvr.decoding.rollout import Rollout


@dataclass(frozen=True)
class Moments:
    """Count, mean, spread and range of values that come in parts.

    Parts are merged by their means (Chan, Golub and LeVeque 1979), so that equal values have a spread of 0.

    Attributes:
        count: how many there are.
        mean: of the values; 0 without any.
        scatter: sum of squared distances from the mean.
        low: the smallest; infinite without any.
        high: the largest; minus infinity without any.
    """

    count: float = 0.0
    mean: float = 0.0
    scatter: float = 0.0
    low: float = inf
    high: float = -inf

    @classmethod
    def of(cls, values_N: Tensor) -> Moments:
        """Take values (N,); NaN stands for one that is not there."""
        values = values_N.detach().double().cpu()
        values = values[~values.isnan()]
        if not len(values):
            return cls()
        # From the first value: the mean of equal ones is then exactly theirs.
        apart = values - values[0]
        scatter = (apart - apart.mean()).square().sum()
        mean = values[0] + apart.mean()
        return cls(len(values), float(mean), float(scatter), float(values.min()), float(values.max()))

    def merged(self, other: Moments) -> Moments:
        """The moments of both parts together."""
        if not self.count or not other.count:
            return self if self.count else other
        count, apart = self.count + other.count, other.mean - self.mean
        scatter = self.scatter + other.scatter + apart**2 * self.count * other.count / count
        mean = self.mean + apart * other.count / count
        return Moments(count, mean, scatter, min(self.low, other.low), max(self.high, other.high))

    @property
    def std(self) -> float | None:
        """Unbiased standard deviation; None below two values."""
        return sqrt(self.scatter / (self.count - 1)) if self.count > 1 else None


@dataclass
class Tally:
    """Moments of a round's quantities, by name.

    Ranks that add the same names in the same order can gather `to_tensor`, and merge what `from_tensor` makes
    of each part: figures are then those of all completions.

    Attributes:
        parts: moments of each quantity; `rewards/NAME` for a reward, `completions/length` in tokens.
    """

    parts: dict[str, Moments] = field(default_factory=dict)

    def add(self, name: str, values_N: Tensor) -> None:
        """Add values (N,) of a quantity; NaN stands for one that is not there."""
        self.parts[name] = self.parts.get(name, Moments()).merged(Moments.of(values_N))

    def merge(self, other: Tally) -> None:
        """Add the values of another tally."""
        for name, moments in other.parts.items():
            self.parts[name] = self.parts.get(name, Moments()).merged(moments)

    def to_tensor(self) -> Tensor:
        """Give the moments (K, 5) in float64, in the order of `parts`."""
        rows = [(m.count, m.mean, m.scatter, m.low, m.high) for m in self.parts.values()]
        return torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)

    @classmethod
    def from_tensor(cls, names: Iterable[str], moments_K5: Tensor) -> Tally:
        """Undo `to_tensor`.

        Args:
            names: the keys of `parts`, in their order.
            moments_K5: as `to_tensor` gives them.

        Returns:
            The tally.
        """
        return cls({name: Moments(*row) for name, row in zip(names, moments_K5.tolist(), strict=True)})

    def figures(self) -> dict[str, float]:
        """Figures by the names that `metrics.jsonl` has; one without values is left out."""
        made: dict[str, float] = {}
        for name, moments in self.parts.items():
            if not moments.count:
                continue
            if name == "completions/length":
                made["completions/mean_length"] = moments.mean
                made["completions/min_length"] = moments.low
                made["completions/max_length"] = moments.high
            elif name.startswith("rewards/"):
                made[f"{name}/mean"] = moments.mean
                if moments.std is not None:
                    made[f"{name}/std"] = moments.std
            else:
                made[name] = moments.mean
        return made


def round_tally(
    rollouts: Sequence[Rollout],
    rewards_BF: Tensor,
    names: Sequence[str],
    combined_B: Tensor,
    group: int,
    has_spans: bool,
    closing_id: int | None = None,
) -> Tally:
    """Count what one rank's rollouts of a round give.

    Args:
        rollouts: B completions, those of a prompt side by side.
        rewards_BF: rewards (B, F); NaN where one is not applicable.
        names: of the F rewards.
        combined_B: the weighted sum of each completion (B,), without NaN.
        group: completions per prompt G, at least 2; B is a multiple of it.
        has_spans: whether the method opens latent spans in its answers.
        closing_id: the token that closes a span; without it unclosed spans are not counted.

    Returns:
        The tally. Which names it has depends on `names`, `has_spans` and `closing_id` alone.
    """
    tally = Tally()
    groups_PG = combined_B.detach().double().reshape(-1, group)
    tally.add("reward", combined_B)
    tally.add("reward_std", groups_PG.std(1))
    for name, values_B in zip(names, rewards_BF.T, strict=True):
        tally.add(f"rewards/{name}", values_B)
    tally.add("frac_reward_zero_std", (groups_PG == groups_PG[:, :1]).all(1))
    tally.add("completions/length", torch.tensor([len(r.ids) for r in rollouts]))
    tally.add("completions/clipped_ratio", _share(rollouts, lambda r: r.finish == "length"))
    if has_spans:
        tally.add("share_never_latent", _share(rollouts, lambda r: not r.spans))
        if closing_id is not None:
            tally.add("share_unclosed", _share(rollouts, lambda r: unclosed(r, closing_id)))
        norms = [span.float().norm(dim=-1) for r in rollouts for span in r.spans]
        tally.add("latent_norm", torch.cat(norms) if norms else torch.zeros(0))
    return tally


def unclosed(rollout: Rollout, closing_id: int) -> bool:
    """Whether a completion opened a latent span and did not close it before the next one, or at all.

    Args:
        rollout: the completion.
        closing_id: the token that closes a span; a learned end vector may stand in a slot under its name.

    Returns:
        True for at least one such span.
    """
    if not rollout.spans:
        return False
    slot = rollout.slot
    lasts = [i for i, inside in enumerate(slot) if inside and not any(slot[i + 1 : i + 2])]
    firsts = [i for i, inside in enumerate(slot) if inside and not (i and slot[i - 1])]
    # A span that was left at once has no slot; its marker may stand anywhere.
    pieces = zip(lasts or [0], [*firsts[1:], len(slot)], strict=True)
    return any(closing_id not in rollout.ids[last:after] for last, after in pieces)


def _share(rollouts: Sequence[Rollout], test: Callable[[Rollout], bool]) -> Tensor:
    """1 where a completion passes a test, else 0 (B,)."""
    return torch.tensor([float(test(rollout)) for rollout in rollouts])
