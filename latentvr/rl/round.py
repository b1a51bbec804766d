"""A round of rollouts: the buffer that some optimiser steps train on, in memory and on disk.

Shape letters: B completions of this process, F reward functions, D width.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentvr.data.encode import EncodedSample
from latentvr.decoding.rollout import Rollout
from latentvr.errors import CheckpointError
from latentvr.rl.objective import Likelihoods


@dataclass
class Round:
    """Completions with all that training needs of them; every list has one entry per completion.

    Attributes:
        number: of the round, from 0.
        places: of the records in their source.
        samples: prompts without answers.
        rollouts: what was written; groups side by side.
        rewards_BF: NaN where a function does not apply.
        combined_B: their weighted sum.
        advantages_B: of the completions.
        items: tokens and latents that count, over all processes, shape ().
        old: likelihoods of each micro-batch under the weights of the rollouts; empty where they are the same.
        reference: those under the reference; empty without one.
        gap: largest difference between log-probabilities of replay and of sampling, before the first update.
    """

    number: int
    places: list[int]
    samples: list[EncodedSample]
    rollouts: list[Rollout]
    rewards_BF: Tensor
    combined_B: Tensor
    advantages_B: Tensor
    items: Tensor
    old: list[Likelihoods] = field(default_factory=list)
    reference: list[Likelihoods] = field(default_factory=list)
    gap: float = 0.0


def round_file(rank: int) -> str:
    """Name of the file with a rank's unfinished round."""
    return f"rollouts-{rank}.safetensors"


def save_round(made: Round, folder: Path, rank: int) -> None:
    """Write a round, latents and likelihoods included; prompts are named by their places."""
    tensors = {
        "rewards": made.rewards_BF,
        "combined": made.combined_B,
        "advantages": made.advantages_B,
        "items": made.items,
    }
    for kind, entries in (("old", made.old), ("reference", made.reference)):
        for number, entry in enumerate(entries):
            tensors[f"{kind}.{number}.log_probs"] = entry.log_probs_BT
            tensors[f"{kind}.{number}.means"] = entry.means_RD
            if entry.deviations is not None:
                tensors[f"{kind}.{number}.deviations"] = entry.deviations
    for number, rollout in enumerate(made.rollouts):
        tensors[f"rollout.{number}.fed"] = rollout.fed
        tensors[f"rollout.{number}.prompt_latents"] = rollout.prompt_latents
        for place, span in enumerate(rollout.spans):
            tensors[f"rollout.{number}.spans.{place}"] = span
    facts = {
        "number": made.number,
        "places": made.places,
        "old": len(made.old),
        "reference": len(made.reference),
        "gap": made.gap,
        "rollouts": [_facts(rollout) for rollout in made.rollouts],
    }
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(whole, folder / round_file(rank), metadata={"facts": json.dumps(facts)})


def _facts(rollout: Rollout) -> dict[str, Any]:
    """What of a rollout is no tensor; numbers of JSON keep every bit of a float."""
    return {
        "ids": rollout.ids,
        "slot": rollout.slot,
        "sampled": rollout.sampled,
        "log_probs": rollout.log_probs,
        "spans": len(rollout.spans),
        "finish": rollout.finish,
    }


def saved_places(folder: Path, rank: int) -> list[int] | None:
    """Places of the prompts of a saved round; None where the checkpoint was written between two rounds.

    Args:
        folder: of the checkpoint.
        rank: of this process.

    Returns:
        A place per completion.

    Raises:
        CheckpointError: the file is damaged.
    """
    file = folder / round_file(rank)
    if not file.exists():
        return None
    try:
        places: list[int] = _read_facts(file)["places"]
    except (KeyError, TypeError) as error:
        raise _damaged(file, error) from error
    return places


def load_round(folder: Path, rank: int, samples: list[EncodedSample], device: torch.device) -> Round:
    """Read back what `save_round` wrote.

    Args:
        folder: of the checkpoint.
        rank: of this process.
        samples: the prompts at `saved_places`, encoded again.
        device: where tensors go.

    Returns:
        The round.

    Raises:
        CheckpointError: the file is damaged.
    """
    file = folder / round_file(rank)
    facts = _read_facts(file)
    try:
        tensors = load_file(file, device=str(device))
        likelihoods = {
            kind: [
                Likelihoods(
                    tensors[f"{kind}.{n}.log_probs"],
                    tensors[f"{kind}.{n}.means"],
                    tensors.get(f"{kind}.{n}.deviations"),
                )
                for n in range(facts[kind])
            ]
            for kind in ("old", "reference")
        }
        return Round(
            number=facts["number"],
            places=facts["places"],
            samples=samples,
            rollouts=[_rollout(n, entry, tensors) for n, entry in enumerate(facts["rollouts"])],
            rewards_BF=tensors["rewards"],
            combined_B=tensors["combined"],
            advantages_B=tensors["advantages"],
            items=tensors["items"],
            gap=facts["gap"],
            **likelihoods,
        )
    except (OSError, KeyError, TypeError, SafetensorError) as error:
        raise _damaged(file, error) from error


def _rollout(number: int, facts: dict[str, Any], tensors: dict[str, Tensor]) -> Rollout:
    """One completion."""
    spans = [tensors[f"rollout.{number}.spans.{place}"] for place in range(facts["spans"])]
    return Rollout(
        ids=facts["ids"],
        slot=facts["slot"],
        sampled=facts["sampled"],
        log_probs=facts["log_probs"],
        fed=tensors[f"rollout.{number}.fed"],
        spans=spans,
        prompt_latents=tensors[f"rollout.{number}.prompt_latents"],
        finish=facts["finish"],
    )


def _read_facts(file: Path) -> dict[str, Any]:
    """What the header of a file says."""
    try:
        with safe_open(file, framework="pt") as opened:
            facts: dict[str, Any] = json.loads(opened.metadata()["facts"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _damaged(file, error) from error
    return facts


def _damaged(file: Path, error: Exception) -> CheckpointError:
    """Build the error for a file that cannot be used."""
    first = (str(error) or type(error).__name__).splitlines()[0]
    return CheckpointError(
        f"expected a round of rollouts, got: {first}, at {str(file)!r}; fix: resume from another checkpoint"
    )
