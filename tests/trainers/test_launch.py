"""Launchers that split the weights are refused before a checkpoint can be written."""

from __future__ import annotations

import pytest

from latentvr.errors import UserError
from latentvr.trainers.launch import require_whole_weights


@pytest.mark.parametrize("name", ["DeepSpeed", "FSDP"])
def test_split_weights_are_refused(name: str) -> None:
    with pytest.raises(UserError) as error:
        require_whole_weights(deepspeed=name == "DeepSpeed", fsdp=name == "FSDP")
    assert str(error.value) == (
        f"expected whole weights in each process, got {name}, which splits them and is not supported by this "
        "version, at the launcher; fix: launch with torchrun"
    )
    require_whole_weights(deepspeed=False, fsdp=False)
