"""The tiny recipes of reinforcement over seeds: reward, sampled and greedy accuracy before and after.

Run: python benchmarks/reinforcement.py [KEY=VALUE ...] [--method lvr] [--rewards chance] [--usage]

Each seed fine-tunes a model of its own, with the recipe that the recipe of reinforcement goes on from, and
then reinforces it. Seeds change weights, order and what is sampled, not the test records. A control has as
many steps and another reward; accuracy is then measured but weighs nothing. `--rewards chance` is a coin for
each completion: updates as large as with a reward that teaches, towards nothing. Overrides of `data` hold in
both runs, others in reinforcement alone. One CPU thread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy import stats

from latentvr.cli.logs import to_terminal
from latentvr.config.load import load
from latentvr.config.rules import require, require_for_rl
from latentvr.config.schema import Recipe
from latentvr.diagnostics.figures import BASELINE, IDENTITY
from latentvr.diagnostics.interventions import chosen
from latentvr.evaluation.evaluate import accuracy
from latentvr.runs import rl, sft
from latentvr.runs.diagnosis import PARTS, Asked, examine
from latentvr.runs.evaluate import answered
from latentvr.runs.inference import load_checkpoint
from latentvr.runs.sources import open_split
from latentvr.trainers.metrics_file import read

RECIPES = Path(__file__).parents[1] / "recipes"
#: Logged steps at either end whose mean counts.
ENDS = 5
#: A coin of its own for each completion, whatever it says.
CHANCE = """import random
DRAWN = random.Random({seed})


def chance(completions, **columns):
    return [float(DRAWN.random() < 0.5) for _ in completions]
"""
BEFORE, AFTER = "before", "after"
#: What is done to the latents of models before and after, on request.
CONDITIONS = ("zeros", "swap", "oracle", "markers_only", "drop", "bottleneck", "bottleneck_drop")


@dataclass(frozen=True)
class Result:
    """A run of reinforcement.

    Attributes:
        reward: mean weighted sum of rewards over the first and the last steps.
        sampled: accuracy of what was sampled in them.
        equal: share of groups without a difference in rewards, over all steps.
        greedy: test accuracy before and after, by condition; None where it does not apply.
        seconds: of the processor, for the run of reinforcement with its validations.
    """

    reward: tuple[float, float]
    sampled: tuple[float, float]
    equal: float
    greedy: dict[str, dict[str, float | None]]
    seconds: float


def start(method: str, seed: int, work: Path, data: Sequence[str]) -> Path:
    """Fine-tune a model to start from, unless the work folder has it."""
    folder = work / f"{method}_tiny-{seed}"
    if not folder.is_dir():
        settings = [f"train.seed={seed}", f"train.output_dir={folder}", "log.progress=false", *data]
        resolved = load(RECIPES / f"{method}_tiny.yaml", settings)
        require(resolved)
        sft.train(resolved)
    return folder


def weighed(rewards: Sequence[str] | None, seed: int, folder: Path) -> list[str]:
    """Settings that let `rewards` alone count, with accuracy measured beside them."""
    if rewards is None:
        return []
    names = ["accuracy", *(name for name in rewards if name != "accuracy")]
    weights = [float(name in rewards) for name in names]
    settings = [f"rl.rewards=[{','.join(names)}]", f"rl.reward_weights=[{','.join(map(str, weights))}]"]
    if "chance" in names:
        file = folder / "chance.py"
        file.write_text(CHANCE.format(seed=seed), encoding="utf-8")
        settings += [f"rl.reward_file={file}", "rl.trust_reward_file=true"]
    return settings


def answers(checkpoint: Path, recipe: Recipe, usage: bool) -> dict[str, float | None]:
    """Greedy accuracy on the test records by condition, with the decoding of reinforcement."""
    model, source = load_checkpoint(checkpoint, "cpu"), open_split(recipe.data, "test")
    if not usage:
        return {BASELINE: accuracy(answered(model, source, recipe))}
    made = examine(model, source, recipe, Asked(chosen(CONDITIONS), without=frozenset(PARTS)))
    names = [BASELINE, *(each.name for each in made.diagnosis.conditions if each.name != IDENTITY)]
    return {name: made.figures[name].accuracy if name in made.figures else None for name in names}


def reinforce(asked: argparse.Namespace, seed: int, work: Path) -> Result:
    """One seed."""
    data = [text for text in asked.overrides if text.startswith("data.")]
    begin = asked.start or start(asked.method, seed, work, data)
    root = Path(tempfile.mkdtemp(prefix=f"{asked.method}_grpo-{seed}-", dir=work))
    settings = [
        f"model.path={begin}",
        f"train.seed={seed}",
        f"train.output_dir={root / 'run'}",
        "train.device=cpu",
        "log.progress=false",
        *([] if asked.steps is None else [f"rl.steps={asked.steps}"]),
        *weighed(asked.rewards, seed, root),
        *asked.overrides,
    ]
    resolved = load(RECIPES / f"{asked.method}_grpo_tiny.yaml", settings)
    require_for_rl(resolved)
    before = answers(begin, resolved.recipe, asked.usage)
    started = time.process_time()
    checkpoint = rl.train(resolved)
    seconds = time.process_time() - started
    rows = [row for row in read(root / "run" / "metrics.jsonl") if "reward" in row]
    equal = statistics.mean(row["frac_reward_zero_std"] for row in rows)
    greedy = {BEFORE: before, AFTER: answers(checkpoint, resolved.recipe, asked.usage)}
    return Result(ends(rows, "reward"), ends(rows, "rewards/accuracy/mean"), equal, greedy, seconds)


def ends(rows: Sequence[dict[str, float]], figure: str) -> tuple[float, float]:
    """Mean of a figure over the first and over the last logged steps."""
    found = [row[figure] for row in rows]
    return statistics.mean(found[:ENDS]), statistics.mean(found[-ENDS:])


def interval(values: Sequence[float]) -> str:
    """Mean with a 95 % t-interval, where there are several values."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.3f} ± {half:.3f}"


def print_runs(results: dict[int, Result]) -> None:
    """A row for each seed, and one over seeds."""
    head = ["seed"]
    for name in ("reward first", "sampled accuracy first"):
        head += [name, "last", "rise"]
    head += ["greedy accuracy before", "after", "rise", "equal groups", "CPU s"]
    print(f"| {' | '.join(head)} |\n|---|{'--:|' * (len(head) - 1)}")
    table = []
    for seed, made in results.items():
        greedy = [made.greedy[when][BASELINE] or 0.0 for when in (BEFORE, AFTER)]
        pairs = (made.reward, made.sampled, greedy)
        table.append([*(v for a, b in pairs for v in (a, b, b - a)), made.equal, made.seconds])
        cells = [f"{value:.3f}" for value in table[-1][:-1]]
        print(f"| {' | '.join([str(seed), *cells, f'{made.seconds:.0f}'])} |")
    *columns, seconds = zip(*table, strict=True)
    cells = [interval(values) for values in columns]
    print(f"| {' | '.join(['all', *cells, f'{statistics.mean(seconds):.0f}'])} |")


def print_usage(results: dict[int, Result]) -> None:
    """Test accuracy by condition in percent, mean and standard deviation over seeds."""
    conditions = list(next(iter(results.values())).greedy[AFTER])
    print(f"\n| test accuracy % | {' | '.join(conditions)} |\n|---|{'--:|' * len(conditions)}")
    for when in (BEFORE, AFTER):
        cells = []
        for name in conditions:
            known = [100 * v for made in results.values() if (v := made.greedy[when][name]) is not None]
            spread = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
            cells.append(f"{statistics.mean(known):.1f}{spread}" if known else "n/a")
        print(f"| {' | '.join([when, *cells])} |")


def main() -> None:
    """Run all seeds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=("lvr", "livr"), default="lvr")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--steps", type=int, default=None, help="optimiser steps; the recipe's by default")
    parser.add_argument("--rewards", nargs="+", default=None, help="what counts instead; may be chance")
    parser.add_argument("--start", type=Path, default=None, help="one fine-tuned run for all seeds")
    parser.add_argument("--work", type=Path, default=None, help="keeps the runs, and the starts for later")
    parser.add_argument("--usage", action="store_true", help="also with other latents, before and after")
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_args()
    to_terminal()
    torch.set_num_threads(1)
    with ExitStack() as kept:
        work = asked.work or Path(kept.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        results = {seed: reinforce(asked, seed, work) for seed in asked.seeds}
    rewards = " and ".join(asked.rewards) if asked.rewards else "those of the recipe"
    print(f"\n{asked.method}, rewards: {rewards}; first and last {ENDS} steps; ± half a 95 % t-interval\n")
    print_runs(results)
    if asked.usage:
        print_usage(results)


if __name__ == "__main__":
    main()
