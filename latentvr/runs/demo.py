"""The demo: a small model that sees, untrained, plainly fine-tuned and with latents, all measured alike.

Which rows there are says `recipes/demo.yaml`; nothing here knows what a method does.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from omegaconf import MISSING, OmegaConf

from latentvr.config.load import Resolved, load
from latentvr.config.rules import require
from latentvr.config.shipped import recipe_file
from latentvr.diagnostics.interventions import chosen
from latentvr.evaluation.metrics import HEADER, Prediction, by_task, rows
from latentvr.evaluation.report import Example, Report, ReportTable, write_report
from latentvr.models.latent_model import LatentModel
from latentvr.runs.diagnosis import Asked, Found, examine
from latentvr.runs.diagnosis_report import figures_table
from latentvr.runs.evaluate import answered
from latentvr.runs.examples import examples
from latentvr.runs.folder import RESOLVED, versions
from latentvr.runs.inference import load_checkpoint
from latentvr.runs.sft import build_model, train
from latentvr.runs.sft_curves import curves
from latentvr.runs.sources import open_split

Say = Callable[[str], None]
#: What is done to the latents of trained arms: what takes little time and shows where the image passes.
ASKED = Asked(chosen(["drop", "bottleneck", "bottleneck_drop"]), without=frozenset({"probes"}))


@dataclass
class Arm:
    """One row of the demo.

    Attributes:
        name: shown in the table.
        recipe: file in the recipes folder.
        trained: False measures the model as it comes.
    """

    name: str = MISSING
    recipe: str = MISSING
    trained: bool = True


@dataclass
class Arms:
    """The rows, as `recipes/demo.yaml` lists them."""

    arms: list[Arm] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """What one arm gave.

    Attributes:
        arm: the arm.
        predictions: of the model as it is.
        found: what the interventions gave, or None for an untrained arm.
        shown: samples with overlays.
        folder: run folder, or None for an untrained arm.
    """

    arm: Arm
    predictions: tuple[Prediction, ...]
    found: Found | None
    shown: tuple[Example, ...]
    folder: Path | None


def shipped_arms() -> list[Arm]:
    """Read the rows from `recipes/demo.yaml`."""
    merged = OmegaConf.merge(OmegaConf.structured(Arms), OmegaConf.load(recipe_file("demo.yaml")))
    return cast(Arms, OmegaConf.to_object(merged)).arms


def demo(out: Path, overrides: list[str], say: Say) -> tuple[list[Result], Path]:
    """Train and measure all arms; arms that are finished in `out` are only measured.

    It runs on one CPU thread: more make nothing faster at this size, and their number would change the
    figures by rounding.

    Args:
        out: folder of the demo; one run folder per arm.
        overrides: settings on top of the recipes'.
        say: gets a line of progress.

    Returns:
        The results, and the path of `report.html`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        results = [run_arm(arm, out, overrides, say) for arm in shipped_arms()]
    finally:
        torch.set_num_threads(threads)
    return results, write_report(out / "report.html", demo_report(results))


def run_arm(arm: Arm, out: Path, overrides: list[str], say: Say) -> Result:
    """Train an arm, or find it trained, and measure it."""
    folder = out / arm.name.lower().replace(" ", "-")
    resolved = load(recipe_file(arm.recipe), [*overrides, f"train.output_dir={folder}"])
    again = (folder / RESOLVED).is_file()
    if not again:
        require(resolved)
    say(f"{arm.name}: {'training' if arm.trained else 'measuring'} ({arm.recipe})")
    model = trained_model(resolved, again) if arm.trained else build_model(resolved.recipe)
    return measure(arm, model, resolved, folder if arm.trained else None)


def trained_model(resolved: Resolved, again: bool) -> LatentModel:
    """Train an arm, or go on with it, and load the result."""
    return load_checkpoint(train(resolved, resume=again), resolved.recipe.train.device)


def measure(arm: Arm, model: LatentModel, resolved: Resolved, folder: Path | None) -> Result:
    """Answer the test records; a trained arm also under the interventions."""
    recipe = resolved.recipe
    source = open_split(recipe.data, "test")
    if folder is None:
        return Result(arm, tuple(answered(model, source, recipe)), None, (), None)
    found = examine(model, source, recipe, ASKED)
    predictions = found.diagnosis.baseline.predictions
    shown = examples(model, source, predictions, recipe) if found.diagnosis.has_latents else ()
    return Result(arm, predictions, found, shown, folder)


def accuracy_table(results: list[Result]) -> ReportTable:
    """Accuracy of every arm as it is."""
    body = [(result.arm.name, *row) for result in results for row in rows(by_task(result.predictions))]
    note = "Test scans and photographs never occur in training. Intervals are Wilson's, 95 %."
    return ReportTable("Accuracy on the test records", ("model", *HEADER), tuple(body), note)


def intervention_tables(results: list[Result]) -> tuple[ReportTable, ...]:
    """What the interventions gave, a table for each trained arm."""
    found = [(result.arm.name, result.found) for result in results if result.found]
    return tuple(replace(figures_table(made), caption=f"Interventions: {name}") for name, made in found)


def plain_words(results: list[Result]) -> tuple[str, ...]:
    """What the figures say, and what they cannot say at this size."""
    lines = [
        "This demo shows the mechanism on a model of 1.4 million parameters, one task and one seed. It does "
        "not show the paper's gain: at this size training with latents was not seen to beat direct "
        "fine-tuning reliably, and a difference between the rows should not be read as one.",
        "The row before fine-tuning is not zero-shot: the backbone's pretraining held some hundred training "
        "samples of every task, for their formats.",
    ]
    for result in results:
        mass = _attention(result)
        if mass is not None:
            lines.append(
                f"{result.arm.name}: answer tokens put {mass:.3f} of their attention on the latents. "
                "drop takes the latents away. Under the bottleneck the image reaches the answer through the "
                "latents alone; what is right there beyond bottleneck_drop, where they are gone as well, "
                "went through them. Whether answers use the latents takes more conditions than these: "
                f"latentvr diagnose {result.folder} runs them and gives a verdict."
            )
    return tuple(lines)


def _attention(result: Result) -> float | None:
    """Mean attention from answers to latents; None without latents."""
    found = result.found
    if found is None or found.geometry is None or not found.diagnosis.has_latents:
        return None
    return found.geometry.mass


def demo_report(results: list[Result]) -> Report:
    """Lay out the page."""
    return Report(
        title="latentvr demo",
        summary=plain_words(results),
        tables=(accuracy_table(results), *intervention_tables(results)),
        charts=tuple(
            chart for result in results if result.folder for chart in curves(result.folder, result.arm.name)
        ),
        examples=tuple(example for result in results for example in result.shown),
        environment=versions(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
