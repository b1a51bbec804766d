"""AdamW's state under DeepSpeed, put together from the parts of all processes and taken apart again.

DeepSpeed steps AdamW over flat pieces of the parameters. On disk the state is that of whole parameters, so
a checkpoint is the same with and without DeepSpeed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")


class SplitOptimizer:
    """The optimiser of a DeepSpeed engine, with the state of an AdamW over whole parameters.

    Args:
        engine: of DeepSpeed, ZeRO stage 2 or 3.
        groups: parameters of each group of the AdamW that the engine was given, in its order.
    """

    def __init__(self, engine: Any, groups: Sequence[Sequence[nn.Parameter]]) -> None:
        self._zero = engine.optimizer
        self._groups = groups
        self._state: dict[int, dict[str, Tensor]] = {}
        for number in range(len(groups)):
            # As the first step would do, but before DeepSpeed links parameters with what it finds after the
            # first step of the first group.
            self._begin(number, 0.0)

    @property
    def _inner(self) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = self._zero.optimizer
        return optimizer

    def _pieces(self, group: int) -> list[Tensor]:
        """Flat pieces of a group that this process steps."""
        if not hasattr(self._zero, "fp32_partitioned_groups_flat"):
            return [self._zero.single_partition_of_fp32_groups[group]]
        owners = self._zero.sub_group_to_group_id
        pieces = self._zero.fp32_partitioned_groups_flat
        return [piece for number, piece in enumerate(pieces) if owners[number] == group]

    def gather(self, keep: bool) -> None:
        """Put the state together, parameter by parameter; all processes call it together.

        Args:
            keep: whether this process keeps the state, on the CPU, until `state_dict` gives it.
        """
        from deepspeed.utils import safe_get_full_optimizer_state

        self._state, index = {}, 0
        for number, group in enumerate(self._groups):
            step = float(self._inner.state[self._pieces(number)[0]]["step"])
            for parameter in group:
                entry = {"step": torch.tensor(step)}
                for name in MOMENTS:
                    whole = safe_get_full_optimizer_state(parameter, name)
                    if keep:
                        entry[name] = whole.detach().to("cpu", copy=True)
                if keep:
                    self._state[index] = entry
                index += 1

    def state_dict(self) -> dict[str, Any]:
        """Give what `gather` put together, in the form of `torch.optim.AdamW`; it is kept no longer."""
        groups, first = [], 0
        for settings, group in zip(self._inner.param_groups, self._groups, strict=True):
            numbers = list(range(first, first + len(group)))
            groups.append({**settings, "params": numbers})
            first += len(group)
        state, self._state = self._state, {}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the part of this process from a whole state.

        Args:
            state: as `torch.optim.AdamW` gives it, over the same parameters in the same order.

        Raises:
            ValueError: it is that of other parameters, or parameters of a group have different numbers of
                steps, which flat pieces cannot have.
        """
        saved = state["param_groups"]
        sizes = [[len(group["params"]) for group in saved], [len(group) for group in self._groups]]
        if sizes[0] != sizes[1]:
            raise ValueError(f"groups of {sizes[0]} parameters instead of {sizes[1]}")
        entries = [[state["state"].get(number, {}) for number in group["params"]] for group in saved]
        for number, group in enumerate(saved):
            settings = {key: value for key, value in group.items() if key != "params"}
            self._inner.param_groups[number].update(settings)
            self._begin(number, _common_step(entries[number]))
        link = getattr(self._zero, "_lazy_init_hp_params_optimizer_state", None)
        if link is not None:  # stage 2 finds the state of a parameter through such links
            link()
        for group, found in zip(self._groups, entries, strict=True):
            for parameter, entry in zip(group, found, strict=True):
                for name in MOMENTS if entry else ():
                    _put(parameter, entry[name], name)

    def _begin(self, number: int, step: float) -> None:
        """Lay out the state of a group's pieces, with no moments yet."""
        for piece in self._pieces(number):
            zeros = {name: torch.zeros_like(piece) for name in MOMENTS}
            self._inner.state[piece] = {"step": torch.tensor(step), **zeros}


def _common_step(entries: Sequence[Mapping[str, Tensor]]) -> float:
    """Steps of all parameters of a group; those that never had a gradient have no entry."""
    steps = {float(entry["step"]) for entry in entries if entry}
    if len(steps) > 1:
        raise ValueError("parameters with different numbers of steps in one group")
    return steps.pop() if steps else 0.0


def _put(parameter: Any, whole: Tensor, name: str) -> None:
    """Copy this process's part of a parameter's moment."""
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    split = hasattr(parameter, "ds_id")
    shape = tuple(parameter.ds_shape if split else parameter.shape)
    if tuple(whole.shape) != shape:
        raise ValueError(f"a moment of shape {tuple(whole.shape)} instead of {shape}")
    if not split:
        safe_set_full_optimizer_state(parameter, whole, name)
        return
    size = parameter.ds_tensor.numel()
    first = size * torch.distributed.get_rank(parameter.ds_process_group)
    part = whole.flatten()[first : first + size]
    padded = part.new_zeros(size)  # the last process's part ends in padding
    padded[: len(part)] = part
    safe_set_local_optimizer_state(parameter, padded, name)
