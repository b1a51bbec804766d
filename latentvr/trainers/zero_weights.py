"""Weights that ZeRO stage 3 has split over the processes: whole for a while, on one process, or for good.

Everything here is done by all processes together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

#: What DeepSpeed leaves at modules; a later engine over the same model would take it for its own.
_TRACES = (
    "pre_bwd_fn", "post_bwd_fn", "applied_pre_backward_ref_cnt", "ds_grads_remaining", "ds_id",
    "ds_recompute_parameters", "_external_params", "ds_external_parameters", "all_parameters",
    "ds_inflight_param_registry", "_original_parameters",
)  # fmt: skip


def keep_whole(engine: Any, parameters: Collection[Any]) -> None:
    """Keep some parameters whole in each process between optimiser steps.

    For what the model reads outside the forward pass of the module that owns it, where DeepSpeed would not
    gather it, and for modules that processes run over unlike numbers of inputs; each has to run them.

    Args:
        engine: of DeepSpeed, ZeRO stage 3.
        parameters: of the engine's model.
    """
    kept = engine.optimizer.persistent_parameters
    for parameter in parameters:
        parameter.is_external_param = True  # not let go by the module that owns it, in any pass
        if not parameter.ds_persist:
            parameter.ds_persist = True
            kept.append(parameter)
    _gather_kept(engine)


def _gather_kept(engine: Any) -> None:
    kept = engine.optimizer.persistent_parameters
    if kept:
        kept[0].all_gather(kept)


@contextmanager
def whole_weights(engine: Any) -> Iterator[None]:
    """Hold the whole model in each process, without DeepSpeed's hooks: passes may differ between processes.

    Args:
        engine: of DeepSpeed, ZeRO stage 3.

    Yields:
        None: nothing; what reads the weights goes into the block, and nothing may change them there.
    """
    from deepspeed.runtime.zero import GatheredParameters

    offload = engine.optimizer.parameter_offload
    split = [p for p in engine.module.parameters() if not p.ds_persist]
    for parameter in engine.module.parameters():
        parameter.ds_active_sub_modules.clear()
    _remove_hooks(offload)
    try:
        with GatheredParameters(split):
            yield
    finally:
        offload.setup_zero_stage3_hooks()


def _remove_hooks(offload: Any) -> None:
    offload.destroy()
    offload.forward_hooks.clear()
    offload.backward_hooks.clear()


@contextmanager
def collected_weights(engine: Any, wanted: Collection[nn.Parameter], keep: bool) -> Iterator[None]:
    """Put whole weights into the model on one process, on the CPU, gathered one after another.

    Args:
        engine: of DeepSpeed, ZeRO stage 3.
        wanted: the same parameters in all processes.
        keep: whether this process gets them.

    Yields:
        None: nothing; what writes the weights goes into the block.
    """
    from deepspeed.runtime.zero import GatheredParameters

    whole: list[Tensor] = []
    for parameter in wanted:
        with GatheredParameters([parameter]):
            if keep:
                whole.append(parameter.detach().to("cpu", copy=True))
    parts = [parameter.data for parameter in wanted]
    try:
        for parameter, tensor in zip(wanted, whole, strict=False):
            parameter.data = tensor
        yield
    finally:
        for parameter, part in zip(wanted, parts, strict=True):
            parameter.data = part
        _gather_kept(engine)


def undo_split(engine: Any) -> None:
    """Make the engine's model whole in each process, with plain parameters, and end the engine.

    Args:
        engine: of DeepSpeed, ZeRO stage 3; its model can train with another one afterwards.
    """
    from deepspeed.runtime.zero import GatheredParameters

    model: nn.Module = engine.module
    plain: dict[int, nn.Parameter] = {}
    for parameter in model.parameters():
        with GatheredParameters([parameter]):
            data = parameter.detach().clone()
        plain[id(parameter)] = nn.Parameter(data, requires_grad=parameter.requires_grad)
    engine.destroy()
    for module in model.modules():
        own = module._parameters.items()
        module._parameters = {name: None if p is None else plain[id(p)] for name, p in own}
        for name in _TRACES:
            module.__dict__.pop(name, None)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
