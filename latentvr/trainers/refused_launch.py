"""Ways of starting processes that a run cannot serve."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence

from latentvr.config.deepspeed_rules import zero_stage
from latentvr.config.schema import Recipe, Trainable
from latentvr.data.record import Record
from latentvr.errors import UserError

#: What a launcher tells each process about the others.
RENDEZVOUS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def require_launch(recipe: Recipe, *, deepspeed: bool, fsdp: bool) -> None:
    """Refuse what a launcher has switched on and the recipe does not ask for.

    Args:
        recipe: all settings.
        deepspeed: DeepSpeed is switched on.
        fsdp: fully sharded data parallelism is switched on.

    Raises:
        UserError: FSDP is, or DeepSpeed is without `train.deepspeed`.
    """
    if fsdp:
        raise UserError(
            "expected whole weights in each process, got FSDP, which splits them and is not supported by "
            "this version, at the launcher; fix: launch with torchrun, or set train.deepspeed"
        )
    if deepspeed and recipe.train.deepspeed is None:
        raise UserError(
            "expected DeepSpeed to be asked for by the recipe, got it from the launcher's environment, at "
            "train.deepspeed=null; fix: set train.deepspeed to a file of settings, or launch with torchrun"
        )


def require_even_images(
    recipe: Recipe, kinds: Collection[Trainable], records: Sequence[Record], processes: int
) -> None:
    """Refuse data where one process would run the vision tower and another not, if DeepSpeed splits it.

    Then each process waits for the others at every weight (ZeRO stage 3) or gradient (stage 2) of the tower.

    Args:
        recipe: all settings.
        kinds: what trains in the stages of the run.
        records: training data.
        processes: of the run.

    Raises:
        UserError: some records have images and others none.
    """
    stage = zero_stage(recipe)
    tower = stage == 3 or (stage == 2 and "all" in kinds)
    if processes == 1 or not tower or recipe.data.feature_cache != "off":
        return
    without = sum(not record.images for record in records)
    if 0 < without < len(records):
        instead = "" if "all" in kinds else ", set data.feature_cache=memory"
        raise UserError(
            f"expected images in all records or in none, as {processes} processes share the vision tower "
            f"(ZeRO stage {stage}), got {without} of {len(records)} records without, at "
            f"train.deepspeed={recipe.train.deepspeed}; fix: leave these records out{instead}, or "
            "launch with torchrun and train.deepspeed=null"
        )


def require_deepspeed(environment: Mapping[str, str]) -> None:
    """Refuse a run with DeepSpeed where it is not installed, or that no launcher has started.

    Args:
        environment: variables of this process.

    Raises:
        UserError: either is so.
    """
    for package in ("deepspeed", "ninja"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"expected the package {package}, got none, at train.deepspeed; "
                "fix: pip install 'latentvr[deepspeed]'"
            )
    missing = [name for name in RENDEZVOUS if name not in environment]
    if missing:
        raise UserError(
            f"expected a launch by torchrun or deepspeed, got a process without {missing[0]}, at "
            "train.deepspeed; fix: add --launcher torchrun, which also starts a single process"
        )
