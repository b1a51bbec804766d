"""Curves of a run of reinforcement, from the rows of its `metrics.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentvr.evaluation.chart import Chart, Line

Rows = Sequence[dict[str, Any]]
#: Points of a curve; longer ones are drawn as means of neighbouring rows.
MOST_POINTS = 300

#: Title, unit, factor, and the lines: (figure, name).
_PLAIN: tuple[tuple[str, str, float, tuple[tuple[str, str], ...]], ...] = (
    ("Shares", "%", 100, (
        ("completions/clipped_ratio", "completions cut at the length limit"),
        ("frac_reward_zero_std", "groups whose rewards are all equal"),
        ("share_never_latent", "completions without a latent span"),
        ("share_unclosed", "completions with an unclosed span"),
    )),
    ("Completion length", "tokens", 1, (
        ("completions/min_length", "shortest"), ("completions/mean_length", "mean"),
        ("completions/max_length", "longest"),
    )),
    ("Divergence from the weights at the start", "nats per token", 1, (("kl", "KL"),)),
    ("Entropy of the policy", "nats per token", 1, (("entropy", "entropy"),)),
    ("Clipped ratios", "%", 100, (
        ("clip_ratio/region_mean", "tokens, either side"), ("clip_ratio/low_mean", "tokens, below"),
        ("clip_ratio/high_mean", "tokens, above"), ("latent_clip_ratio", "latents"),
    )),
    ("Norm of the latents that are fed", "mean norm", 1, (("latent_norm", "norm"),)),
    ("Drift of the recorded latents from those of the present weights", "share of their norm", 1,
     (("latent_drift", "drift"),)),
    ("Gradient norm", "before clipping", 1, (("grad_norm", "norm"),)),
    ("Validation accuracy", "accuracy %", 100, (("validation_accuracy", "validation"),)),
)  # fmt: skip


def curves(rows: Rows, rewards: Sequence[str]) -> tuple[Chart, ...]:
    """Lay out the curves that the rows give.

    Args:
        rows: of `metrics.jsonl`, in order.
        rewards: names of the reward functions.

    Returns:
        Reward with its spread first, then its parts and the rest; a curve without any value is left out.
    """
    parts = tuple((f"rewards/{name}/mean", name) for name in rewards)
    charts = [_reward(rows), _chart(rows, "Parts of the reward", "mean, before weights", 1, parts)]
    charts += [_chart(rows, *plain) for plain in _PLAIN]
    return tuple(chart for chart in charts if chart is not None)


def values(rows: Rows, figure: str) -> list[tuple[float, float]]:
    """(step, value) of the rows that have a figure."""
    return [(float(row["step"]), float(row[figure])) for row in rows if figure in row]


def _reward(rows: Rows) -> Chart | None:
    both = [row for row in rows if "reward" in row and "reward_std" in row]
    if not both:
        return None
    points, size = thinned(values(both, "reward"))
    spread = tuple(y for _, y in thinned(values(both, "reward_std"))[0])
    line = Line("mean, with the standard deviation within groups as a band", points, spread)
    return Chart("Reward", "optimiser step", f"weighted sum of its parts{_of(size)}", (line,))


def _chart(
    rows: Rows, title: str, unit: str, factor: float, lines: Sequence[tuple[str, str]]
) -> Chart | None:
    """A chart of the figures that there are."""
    drawn, sizes = [], [1]
    for figure, name in lines:
        points, size = thinned([(x, factor * y) for x, y in values(rows, figure)])
        if points:
            drawn.append(Line(name, points))
            sizes.append(size)
    unit = f"{unit}{_of(max(sizes))}"
    return Chart(title, "optimiser step", unit, tuple(drawn)) if drawn else None


def thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[tuple[float, float], ...], int]:
    """Replace neighbouring points by their mean, so that at most `MOST_POINTS` are left.

    Args:
        points: (x, y), in order.

    Returns:
        The points, and how many old ones make a new one; the last may be made of fewer.
    """
    size = max(1, -(-len(points) // MOST_POINTS))
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return tuple((_mean([x for x, _ in part]), _mean([y for _, y in part])) for part in parts), size


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def _of(size: int) -> str:
    return "" if size == 1 else f"; each point is the mean of {size} logged steps"
