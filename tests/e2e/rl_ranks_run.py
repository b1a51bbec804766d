"""Runs as `latentvr rl` makes them, one for each kind of loss, whose weights every process writes.

Started by `torchrun`, or called. Arguments: recipe, folder, kinds of loss with commas between, overrides.
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file
from transformers import set_seed

from latentvr.config.load import load
from latentvr.models.latent_model import LatentModel
from latentvr.models.trainable import set_trainable
from latentvr.rl.rewards.call import Rewards
from latentvr.rl.rewards.registry import resolve
from latentvr.runs.processes import join_processes
from latentvr.runs.rl import build_prompts, stage_run, train
from latentvr.runs.sft import build_model
from latentvr.runs.sources import open_training
from latentvr.trainers.grpo import GRPOTrainer
from latentvr.trainers.reference import Reference
from latentvr.trainers.signals import StopRequest
from latentvr.trainers.stage import stage_seed


def work(recipe: str, folder: Path, kinds: list[str], overrides: list[str]) -> None:
    """Train with each kind of loss in `folder/KIND`; with the first once more, for each rank's weights."""
    for kind in kinds:
        given = [*overrides, f"rl.loss_type={kind}", f"train.output_dir={folder / kind}"]
        train(load(Path(recipe), given))
    trained_apart(recipe, folder, [*overrides, f"rl.loss_type={kinds[0]}"])


def trained_apart(recipe: str, folder: Path, overrides: list[str]) -> None:
    """Train without a run folder; write this process's weights to `folder/rank-N.safetensors`."""
    settings = load(Path(recipe), overrides).recipe
    processes = join_processes(settings)
    source = open_training(settings.data)
    model: LatentModel = build_model(settings)
    prompts = build_prompts(model, source, settings)
    run = stage_run(settings, len(source.records), processes.num_processes)
    set_seed(stage_seed(settings, run.index))
    set_trainable(model, settings.optim.trainable, settings.model.lora)
    (folder / "apart").mkdir(exist_ok=True)
    rewards = Rewards(resolve(settings.rl), settings.rl.reward_weights)
    reference = Reference(model, new_adapters=False)
    trainer = GRPOTrainer(
        model, settings, run, folder / "apart", prompts, rewards, reference, None, StopRequest()
    )
    trainer.train()
    weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    save_file(weights, folder / f"rank-{processes.process_index}.safetensors")


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(","), sys.argv[4:])
