"""AdamW groups and the schedule of one stage."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from latentvr.config.schema import OptimConfig
from latentvr.models.latent_model import LatentModel


def parameter_groups(model: LatentModel, config: OptimConfig, learning_rate: float) -> list[dict[str, Any]]:
    """Split trainable parameters: decayed matrices, undecayed vectors, token rows.

    Args:
        model: with `requires_grad` set.
        config: the recipe's section.
        learning_rate: peak rate of the stage.

    Returns:
        Groups for an optimiser of torch; empty ones are left out.
    """
    rows = [] if model.rows is None else list(model.rows.parameters())
    row_ids = {id(p) for p in rows}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in row_ids]
    decayed = [p for p in others if p.ndim > 1]
    plain = [p for p in others if p.ndim <= 1]
    row_rate = config.token_learning_rate or learning_rate
    groups = [
        {"params": decayed, "lr": learning_rate, "weight_decay": config.weight_decay},
        {"params": plain, "lr": learning_rate, "weight_decay": 0.0},
        {"params": rows, "lr": row_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def adamw(groups: list[dict[str, Any]], config: OptimConfig) -> torch.optim.AdamW:
    """Build AdamW over parameter groups."""
    return torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps)


def rate(step: int, *, warmup: int, total: int, schedule: str) -> float:
    """Share of the peak learning rate at `step`: linear warm-up, then the schedule down to zero."""
    if step < warmup:
        return step / max(1, warmup)
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0 - progress if schedule == "linear" else 1.0


def scheduler(optimizer: torch.optim.Optimizer, config: OptimConfig, total: int) -> LambdaLR:
    """Schedule of one stage of `total` optimiser steps."""
    warmup = math.ceil(config.warmup * total)
    return LambdaLR(optimizer, partial(rate, warmup=warmup, total=total, schedule=config.schedule))
