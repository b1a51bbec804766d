"""What a diagnosis costs beyond its forward passes: seconds in all, in the model, and what sharing saves.

Run: python benchmarks/diagnosis_cost.py [KEY=VALUE ...] [--samples 500] [--epochs 2] [--methods livr lvr]

Both models are the tiny recipes after a few epochs, enough for answers with latents. Time in the model is
that inside modules: embedding, vision tower, decoder (whole, or layer by layer while answers are written) and
head. Beside it stands what the same conditions would take one by one: as many evaluations of the model as it
is, features of images at hand, and no probability of the right answer.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from latentvr.attention.visibility import preset
from latentvr.cli.logs import to_terminal
from latentvr.config.load import load
from latentvr.config.schema import Recipe
from latentvr.data.record import Source
from latentvr.diagnostics.diagnose import diagnose
from latentvr.diagnostics.interventions import chosen
from latentvr.evaluation.evaluate import answer_all
from latentvr.evaluation.prompts import Prompts, encoder_for
from latentvr.models.latent_model import LatentModel
from latentvr.runs.diagnosis import Asked, examine
from latentvr.runs.inference import load_checkpoint
from latentvr.runs.sft import train
from latentvr.runs.sources import open_split

RECIPES = Path(__file__).parents[1] / "recipes"


class Clock:
    """Processor time inside modules, the outermost alone."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._since = 0.0

    def enter(self, *_: object) -> None:
        """A module begins."""
        if not self._depth:
            self._since = time.process_time()
        self._depth += 1

    def leave(self, *_: object) -> None:
        """A module ends."""
        self._depth -= 1
        if not self._depth:
            self.seconds += time.process_time() - self._since


@contextmanager
def inside(model: LatentModel) -> Iterator[Clock]:
    """Measure the time in the stock modules."""
    clock, decoder = Clock(), model.backbone.language_model
    modules = [
        model.backbone.vision_tower,
        decoder,
        *decoder.layers,
        decoder.norm,
        model.backbone.model.lm_head,
    ]
    handles = [module.register_forward_pre_hook(clock.enter) for module in modules]
    handles += [module.register_forward_hook(clock.leave) for module in modules]
    yield clock
    for handle in handles:
        handle.remove()


def measured(model: LatentModel, source: Source, recipe: Recipe, whole: bool) -> tuple[float, float, int]:
    """Seconds in all and in the model, and the number of conditions, seeds counted."""
    asked = chosen([])
    with inside(model) as clock:
        begin = time.process_time()
        if whole:
            found = examine(model, source, recipe, Asked(asked)).diagnosis
        else:
            found = diagnose(model, source, recipe, asked, readings=False)
        seconds = time.process_time() - begin
    return seconds, clock.seconds, 1 + sum(len(condition.runs) for condition in found.conditions)


def one_by_one(model: LatentModel, source: Source, recipe: Recipe) -> float:
    """Seconds of one evaluation whose features are at hand."""
    prompts = Prompts(model, source, encoder_for(model), keep=True)
    seen = preset(recipe.decode.visibility)
    answer_all(model, prompts, seen, recipe.decode, recipe.eval.batch_size)
    begin = time.process_time()
    answer_all(model, prompts, seen, recipe.decode, recipe.eval.batch_size)
    return time.process_time() - begin


def main() -> None:
    """Train both models, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=["livr", "lvr"])
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_args()
    to_terminal()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}")
    print("\n| model | runs | all s | in the model s | ratio | with geometry and probes s | one by one s |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as root:
        for method in asked.methods:
            recipe_file, folder = RECIPES / f"{method}_tiny.yaml", Path(root) / method
            first = next(iter(load(recipe_file).recipe.stages))
            settings = [
                f"train.output_dir={folder}", "log.progress=false", f"stages.{first}.epochs={asked.epochs}",
                f"data.toy.test={asked.samples}", "data.toy.validation=8",
                *asked.overrides,
            ]  # fmt: skip
            resolved = load(recipe_file, settings)
            model = load_checkpoint(train(resolved))
            source = open_split(resolved.recipe.data, "test")
            seconds, in_model, runs = measured(model, source, resolved.recipe, whole=False)
            everything, _, _ = measured(model, source, resolved.recipe, whole=True)
            alone = one_by_one(model, source, resolved.recipe) * runs
            print(
                f"| {method}_tiny | {runs} | {seconds:.1f} | {in_model:.1f} | {seconds / in_model:.2f} | "
                f"{everything:.1f} | {alone:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
