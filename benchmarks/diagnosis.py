"""Which methods use their latents: every intervention on models of the tiny backbone, over seeds.

Run: python benchmarks/diagnosis.py [KEY=VALUE ...] [--task similarity] [--arms LIVR LVR] [--seeds 42 43]

Every arm sees the same samples for the same number of epochs in the same two learning-rate cycles; only the
latents, what is fed and the masks differ. Seeds change weights and order, not the test samples. A run that is
in the work folder already is not repeated, so that arms can be run side by side and shown together.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.cli.logs import to_terminal
from latentvr.config.load import load
from latentvr.diagnostics.interventions import NAMES
from latentvr.runs.diagnose import asked_for, diagnose_checkpoint
from latentvr.runs.sft import train

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class Arm:
    """A column of the table: a recipe and what is changed in it."""

    recipe: str
    overrides: tuple[str, ...] = ()


_OWN, _MIXED = "reasoner.slot_inputs=own", "reasoner.slot_inputs=mixed"
_BLIND = "stages.bottleneck.visibility=answer_only"
ARMS = {
    "Direct SFT": Arm("sft_tiny.yaml"),
    "LIVR": Arm("livr_tiny.yaml"),
    "LIVR, K = 4": Arm("livr_tiny.yaml", ("reasoner.latents=4",)),
    "latents only": Arm("livr_tiny.yaml", ("stages.bottleneck.visibility=causal",)),
    "mask only": Arm("livr_tiny.yaml", ("reasoner.latents=0", _BLIND)),
    "LVR": Arm("lvr_tiny.yaml"),
    "LVR, mixed inputs": Arm("lvr_tiny.yaml", (_MIXED,)),
    "LVR, own inputs": Arm("lvr_tiny.yaml", (_OWN,)),
    "LVR bottleneck": Arm("lvr_bottleneck_tiny.yaml"),
    "LVR bottleneck, mixed inputs": Arm("lvr_bottleneck_tiny.yaml", (_MIXED,)),
    "LVR bottleneck, own inputs": Arm("lvr_bottleneck_tiny.yaml", (_OWN,)),
    "LVR bottleneck, then causal": Arm("lvr_tiny.yaml", ("stages.first.visibility=bottleneck",)),
    "LVR masked ROI": Arm("lvr_masked_roi_tiny.yaml"),
}
DEFAULT = ("Direct SFT", "LIVR", "latents only", "LVR", "LVR bottleneck", "LVR masked ROI")
GEOMETRY = {
    "attention from answers to latents": "mass",
    "attention from latents to images": "to_image",
    "density of that attention inside the boxes": "enrichment",
    "effective rank": "effective_rank",
    "components for 90 % of the variance": "rank_90",
    "cosine of neighbouring latents": "adjacent_cosine",
    "cosine of latents of one record": "mutual_cosine",
    "cosine of mean latents of two records": "record_cosine",
}


def run(name: str, task: str, seed: int, work: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Train one arm with one seed and diagnose it, or find it done."""
    folder = work / f"{task}-{name}-{seed}".replace(" ", "-").replace(",", "").replace("=-", "")
    out = folder / "diagnose" / "test"
    if not (out / "results.json").is_file():
        arm = ARMS[name]
        settings = [
            *arm.overrides, f"data.tasks=[{task}]", f"train.seed={seed}", f"train.output_dir={folder}",
            "log.progress=false", *overrides,
        ]  # fmt: skip
        resolved = load(RECIPES / arm.recipe, settings)
        train(resolved, resume=(folder / "resolved.yaml").is_file())
        diagnose_checkpoint(folder, [], None, "test", asked_for("", 3, 1, ""), out)
    found: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return found


def cell(values: Sequence[float | None], pattern: str = "{:.1f}") -> str:
    """Mean over seeds, with the standard deviation where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "n/a"
    spread = f" ± {pattern.format(statistics.stdev(known))}" if len(known) > 1 else ""
    return pattern.format(statistics.mean(known)) + spread


def show(title: str, arms: Sequence[str], rows: Sequence[tuple[str, Callable[[str], str]]]) -> None:
    """Print a Markdown table with a column for each arm."""
    print(f"\n{title}\n\n| | {' | '.join(arms)} |\n|---|{'--:|' * len(arms)}")
    for name, text in rows:
        print(f"| {name} | {' | '.join(text(arm) for arm in arms)} |")


def shares(made: Sequence[dict[str, Any]], condition: str, key: str) -> list[float | None]:
    """One figure of a condition in percent, for each seed; None where it does not apply."""
    return [None if key not in found else 100 * found[key]
            for found in (result["conditions"].get(condition, {}) for result in made)]  # fmt: skip


def selectivity(made: Sequence[dict[str, Any]], target: str, source: str, depth: str) -> list[float | None]:
    """How much better than shuffled labels a probe is, for each seed."""
    return [
        next((p["score"] - p["shuffled"] for p in result["probes"]
              if (p["target"], p["source"], p["depth"]) == (target, source, depth) and not p["reason"]), None)
        for result in made
    ]  # fmt: skip


def report(results: dict[str, list[dict[str, Any]]]) -> None:
    """Print all tables."""
    arms = list(results)
    for results_of in results.values():
        for result in results_of:
            for made in result["conditions"].values():
                if "total" in made:
                    made["accuracy"] = made["correct"] / made["total"]
    conditions = ("baseline", *NAMES)
    for title, key in (("Accuracy %", "accuracy"), ("P(right) %", "probability"), ("Flipped %", "flipped")):
        rows = [(c, lambda arm, c=c, key=key: cell(shares(results[arm], c, key))) for c in conditions]
        if key == "accuracy":
            rows.append(("verdicts", lambda arm: ", ".join(r["verdict"]["word"] for r in results[arm])))
        show(title, arms, rows)
    show("Geometry", arms, [
        (name, lambda arm, key=key: cell([(r["geometry"] or {}).get(key) for r in results[arm]], "{:.2f}"))
        for name, key in GEOMETRY.items()
    ])  # fmt: skip
    places = [(s, d) for s in ("latents", "prompt", "image") for d in ("middle", "last")]
    for target in ("answer", "box"):
        show(f"Selectivity of linear probes: {target}", arms, [
            (f"{s}, {d}", lambda arm, s=s, d=d, t=target: cell(selectivity(results[arm], t, s, d), "{:.2f}"))
            for s, d in places
        ])  # fmt: skip


def main() -> None:
    """Run all arms and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--task", default="similarity")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(DEFAULT), metavar="ARM")
    parser.add_argument(
        "--work", type=Path, default=None, help="folder of the runs; a passing one by default"
    )
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_args()
    to_terminal()
    with tempfile.TemporaryDirectory() as passing:
        work = asked.work or Path(passing)
        results = {
            name: [run(name, asked.task, seed, work, asked.overrides) for seed in asked.seeds]
            for name in asked.arms
        }
    print(f"\ntask {asked.task}, seeds {asked.seeds}, mean ± standard deviation over seeds")
    report(results)


if __name__ == "__main__":
    main()
