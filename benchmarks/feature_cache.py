"""What the cache of visual features saves: two epochs over generated images, without it and with it.

Run: python benchmarks/feature_cache.py [--images 1000] [--repeats 3] [--size 128] [--batch 25]
     [--model tiny-backbone]

`prepare` is what happens before the first step: nothing, or all images through the vision tower. `disk again`
is a second run, which finds the features of the first. An epoch gives every batch its features and runs
forward and backward, with LoRA; `tower` is the share of an epoch that the vision tower takes. Turns of all
kinds follow one another within a repeat, and figures are medians: processor time on a CPU, where it is what a
busy machine changes least, and time on the clock with CUDA.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from latentvr.attention.visibility import CAUSAL
from latentvr.config.load import load
from latentvr.config.schema import Recipe
from latentvr.data.collate import collate
from latentvr.data.dataset import EncodedDataset
from latentvr.evaluation.evaluate import on_device
from latentvr.models.latent_model import LatentModel
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Stage
from latentvr.runs.sft import build_model_and_data

KINDS = ("off", "memory", "disk", "disk again")
EPOCHS = 2


@dataclass(frozen=True)
class Turn:
    """Seconds of one turn: before the first step, in each epoch, and in the tower during an epoch."""

    prepare: float
    epochs: tuple[float, ...]
    tower: float


def clock() -> float:
    """Processor time, or the time on the clock once the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


class Stopwatch:
    """Adds up what a call takes."""

    def __init__(self, call: Callable[..., torch.Tensor]) -> None:
        self.call = call
        self.seconds = 0.0

    def __call__(self, *args: torch.Tensor) -> torch.Tensor:
        """Call and count."""
        start = clock()
        out = self.call(*args)
        self.seconds += clock() - start
        return out


def recipe_of(options: argparse.Namespace, kind: str, folder: Path) -> Recipe:
    """LIVR with LoRA on `images` generated records of one image."""
    cache = kind.split()[0]
    dtype = "bfloat16" if torch.cuda.is_available() else "float32"
    return load(
        None,
        [
            "reasoner.name=livr", "data.source=toy", "data.tasks=[counting]", f"model.path={options.model}",
            f"data.toy.train={options.images}", f"data.toy.size={options.size}", f"model.dtype={dtype}",
            f"data.feature_cache={cache}", f"data.feature_cache_dir={folder}", "model.lora.dropout=0",
        ],
    ).recipe  # fmt: skip


def turn(options: argparse.Namespace, kind: str, folder: Path) -> Turn:
    """Build the model, then run the epochs."""
    recipe = recipe_of(options, kind, folder)
    bare = recipe_of(options, "off", folder)
    start = clock()
    build_model_and_data(bare)
    empty = clock() - start
    start = clock()
    model, data = build_model_and_data(recipe)
    prepare = clock() - start - empty
    set_trainable(model, "lora", recipe.model.lora)
    tower = Stopwatch(model.backbone.encode_images)
    model.backbone.encode_images = tower  # type: ignore[method-assign]
    epochs = [epoch(model, data, options.batch) for _ in range(EPOCHS)]
    return Turn(max(0.0, prepare), tuple(epochs), tower.seconds / EPOCHS)


def epoch(model: LatentModel, data: EncodedDataset, batch: int) -> float:
    """Seconds of forward and backward over all samples."""
    model.train()
    stage, pad = Stage("epoch", CAUSAL), model.processor.tokenizer.pad_token_id
    start = clock()
    for first in range(0, len(data), batch):
        samples = [data[i] for i in range(first, min(first + batch, len(data)))]
        model(on_device(collate(samples, pad), model), stage)["ce"].total.backward()
        model.zero_grad()
    return clock() - start


def main() -> None:
    """Print the machine and the table."""
    parser = argparse.ArgumentParser(description="Seconds per epoch with and without cached features.")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--model", default="tiny-backbone")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{options.threads} thread(s)"
    print(
        f"{platform.system()} {platform.machine()}, {device}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, {options.model}, {options.images} images of {options.size} pixels"
    )
    found: dict[str, list[Turn]] = {kind: [] for kind in KINDS}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for kind in KINDS:
                found[kind].append(turn(options, kind, Path(folder)))
    print("| cache | prepare s | epoch 1 s | epoch 2 s | tower per epoch s | both epochs and prepare s |")
    print("|---|--:|--:|--:|--:|--:|")
    for kind, turns in found.items():
        prepare, tower = (statistics.median(getattr(t, name) for t in turns) for name in ("prepare", "tower"))
        epochs = [statistics.median(t.epochs[i] for t in turns) for i in range(EPOCHS)]
        columns = [prepare, *epochs, tower, prepare + sum(epochs)]
        print(f"| {kind} | " + " | ".join(f"{value:.2f}" for value in columns) + " |", flush=True)


if __name__ == "__main__":
    main()
