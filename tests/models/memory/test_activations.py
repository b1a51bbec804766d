"""What a layer of the text decoder keeps, against the tensors that autograd saves in one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from latentvr.attention.visibility import BOTTLENECK, Visibility
from latentvr.config.schema import LoraConfig, Trainable
from latentvr.models.memory.activations import adapters_of, attention, decoder_layer
from latentvr.models.memory.batch import batch_shape
from latentvr.models.memory.held import Trained
from latentvr.models.memory.shape import Shape, shape_of
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Stage

#: The layer that is looked at: neither the first, which has deepstack's features, nor the last.
LAYER = 2


def kept(model: Any, batch: dict[str, Any], seen: Visibility, half: bool) -> int:
    """Bytes of the storages that one layer saves and none before it has, weights left out."""
    inside, storages = [False], {id(p.untyped_storage()): 0 for p in model.parameters()}
    before = {p.data_ptr() for p in model.parameters()}
    alive: list[Tensor] = []

    def note(saved: Tensor) -> Tensor:
        place = saved.untyped_storage().data_ptr()
        if place and place not in before:
            before.add(place)
            alive.append(saved)
            storages[place] = saved.untyped_storage().nbytes() if inside[0] else 0
        return saved

    def enter(*_: Any) -> None:
        inside[0] = True

    def leave(*_: Any) -> None:
        inside[0] = False

    layer: nn.Module = model.backbone.language_model.layers[LAYER]
    handles = [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=half)
    with saved_tensors_hooks(note, lambda saved: saved), autocast:
        model.train()(batch, Stage("s", seen))
    for handle in handles:
        handle.remove()
    return sum(storages.values())


@pytest.mark.parametrize("half", [True, False], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("trainable", ["lora", "language"])
def test_a_layer_keeps_what_is_counted(lab: Any, family: str, trainable: Trainable, half: bool) -> None:
    """Breaks when: an operation is left out, or its numbers have another format."""
    seen, lora = BOTTLENECK, LoraConfig(r=4)
    model = lab.model(family, "livr", kernel="two_pass")
    if half:
        model.backbone.model.bfloat16()
    shape: Shape = shape_of(model.backbone.model)
    set_trainable(model, trainable, lora)
    batch = lab.batch(model, list(lab.records.values()))
    adapters = adapters_of(lora) if trainable == "lora" else None
    adapted = sum(p.numel() for name, p in model.base.named_parameters() if "lora_" in name)
    trained = Trained(trainable, 0, adapters, adapted, 2 if half else 4, half, device="cpu")
    precision, sizes = trained.precision(), batch_shape(batch, seen, "two_pass")
    counted = decoder_layer(shape.text, precision, adapters) * sizes.tokens
    counted += attention(shape.text, precision, "two_pass", sizes.tokens, sizes.rows, sizes.narrow)
    counted += 2 * trained.linear(shape) // shape.text.layers if half else 0
    assert counted == pytest.approx(kept(model, batch, seen, half), rel=0.03)
