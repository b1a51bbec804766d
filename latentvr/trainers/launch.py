"""Ways of starting several processes that this version cannot serve."""

from __future__ import annotations

from latentvr.errors import UserError


def require_whole_weights(*, deepspeed: bool, fsdp: bool) -> None:
    """Refuse launchers that split weights or optimiser over processes: checkpoints would lack parts.

    Args:
        deepspeed: DeepSpeed is switched on.
        fsdp: fully sharded data parallelism is switched on.

    Raises:
        UserError: either is.
    """
    if deepspeed or fsdp:
        name = "DeepSpeed" if deepspeed else "FSDP"
        raise UserError(
            f"expected whole weights in each process, got {name}, which splits them and is not "
            "supported by this version, at the launcher; fix: launch with torchrun"
        )
