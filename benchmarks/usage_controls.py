"""The usage checks of a method beside its controls, on the tiny backbone: accuracy by condition over seeds.

Run: python benchmarks/usage_controls.py [KEY=VALUE ...] [--method livr] [--task similarity] [--seeds 42 43]

Every arm sees the same samples for the same number of epochs in the same two learning-rate cycles; only the
latents and the masks differ. Seeds change weights and order, not the test samples.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from latentvr.cli.logs import to_terminal
from latentvr.config.load import load
from latentvr.evaluation.evaluate import accuracy
from latentvr.evaluation.usage import check_usage
from latentvr.runs.inference import load_checkpoint
from latentvr.runs.sft import train
from latentvr.runs.sources import open_split

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class Arm:
    """A row of the table: a recipe and what is changed in it."""

    name: str
    recipe: str
    overrides: tuple[str, ...] = ()


_OWN, _MIXED = "reasoner.slot_inputs=own", "reasoner.slot_inputs=mixed"
ARMS = {
    "livr": (
        Arm("Direct SFT", "sft_tiny.yaml"),
        Arm("LIVR", "livr_tiny.yaml"),
        Arm("LIVR, K = 4", "livr_tiny.yaml", ("reasoner.latents=4",)),
        Arm("latents only", "livr_tiny.yaml", ("stages.bottleneck.visibility=causal",)),
        Arm(
            "mask only", "livr_tiny.yaml", ("reasoner.latents=0", "stages.bottleneck.visibility=answer_only")
        ),
    ),
    "lvr": (
        Arm("Direct SFT", "sft_tiny.yaml"),
        Arm("LVR", "lvr_tiny.yaml"),
        Arm("LVR, mixed inputs", "lvr_tiny.yaml", (_MIXED,)),
        Arm("LVR, own inputs", "lvr_tiny.yaml", (_OWN,)),
        Arm("bottleneck", "lvr_bottleneck_tiny.yaml"),
        Arm("bottleneck, mixed inputs", "lvr_bottleneck_tiny.yaml", (_MIXED,)),
        Arm("bottleneck, own inputs", "lvr_bottleneck_tiny.yaml", (_OWN,)),
        Arm("bottleneck, then causal", "lvr_tiny.yaml", ("stages.first.visibility=bottleneck",)),
        Arm("region painted over", "lvr_masked_roi_tiny.yaml"),
    ),
}


def run(arm: Arm, seed: int, folder: Path, overrides: list[str]) -> tuple[dict[str, float | None], float]:
    """Train one arm with one seed and give its accuracy by condition, and the seconds of training."""
    settings = [*arm.overrides, f"train.seed={seed}", f"train.output_dir={folder}", *overrides]
    resolved = load(RECIPES / arm.recipe, settings)
    started = time.perf_counter()
    model = load_checkpoint(train(resolved))
    seconds = time.perf_counter() - started
    recipe = resolved.recipe
    made = check_usage(model, open_split(recipe.data, "test"), recipe)
    return {name: None if p is None else accuracy(p) for name, p in made.items()}, seconds


def cell(values: list[float | None]) -> str:
    """Mean over seeds, with the standard deviation where there are several."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "n/a"
    spread = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.1f}{spread}"


def main() -> None:
    """Run all arms and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--task", default="similarity")
    parser.add_argument("--arms", nargs="+", default=None, help="rows of the table; all by default")
    parser.add_argument("--method", choices=list(ARMS), default="livr")
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_args()
    to_terminal()
    rows, conditions = [], list[str]()
    with tempfile.TemporaryDirectory() as root:
        for arm in ARMS[asked.method]:
            if asked.arms is not None and arm.name not in asked.arms:
                continue
            overrides = [f"data.tasks=[{asked.task}]", "log.progress=false", *asked.overrides]
            folders = [Path(root) / f"{arm.name}-{seed}".replace(" ", "") for seed in asked.seeds]
            results = [run(arm, s, f, overrides) for s, f in zip(asked.seeds, folders, strict=True)]
            conditions = list(dict.fromkeys([*conditions, *results[0][0]]))
            made = [{**dict.fromkeys(conditions), **scores} for scores, _ in results]
            cells = {name: cell([scores[name] for scores in made]) for name in conditions}
            rows.append((arm.name, cells, f"{statistics.median(s for _, s in results):.0f}"))
            print(f"{arm.name}: {cells}", flush=True)
    print(
        f"\n{asked.method}, {asked.task}, seeds {asked.seeds}: test accuracy %, 400 samples unless changed\n"
    )
    print(f"| arm | {' | '.join(conditions)} | seconds |")
    print(f"|---|{'--:|' * (len(conditions) + 1)}")
    for name, cells, seconds in rows:
        shown = [cells.get(condition, "n/a") for condition in conditions]
        print(f"| {' | '.join([name, *shown, seconds])} |")


if __name__ == "__main__":
    main()
