"""The policy loss of a linear policy on two processes; started by `torchrun`.

Arguments: a folder with `inputs.safetensors`, which gets `gradient-RANK.safetensors`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentvr.rl.losses import LossType, Penalty, reduced, token_losses

MAX_LENGTH = 16


def gradient(data: dict[str, Tensor], items: Tensor, loss_type: LossType) -> Tensor:
    """Of three weights in which log-probabilities are linear; averaged over processes, as in training."""
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    log_probs = data["log_probs"] + data["features"] @ weights
    penalty = Penalty(0.04, data["reference"], corrected=True)
    losses, _ = token_losses(log_probs, data["old"], data["advantages"], 0.2, 0.3, penalty)
    reduced(
        losses, data["mask"], loss_type, accumulation=1, items=items, processes=dist.get_world_size(),
        steps_per_generation=1, max_length=MAX_LENGTH,
    ).backward()  # fmt: skip
    assert weights.grad is not None
    dist.all_reduce(weights.grad)
    return weights.grad / dist.get_world_size()


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    whole = load_file(folder / "inputs.safetensors")
    own = {name: value.chunk(processes)[rank] for name, value in whole.items()}
    items = own["mask"].sum()
    dist.all_reduce(items)
    found = {loss_type: gradient(own, items, loss_type) for loss_type in get_args(LossType)}
    save_file(found, folder / f"gradient-{rank}.safetensors")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
