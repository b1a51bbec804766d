"""The sizes of a vision-language model that its memory depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class TextShape:
    """The text decoder.

    Attributes:
        layers: number of layers.
        width: of the residual stream, D.
        inner: of the MLP, I.
        query: heads times head size, Q.
        key: key heads times head size, K.
        heads: query heads, H.
        normed_heads: whether queries and keys have a norm of their own, as Qwen3's.
        vocabulary: rows of the head, V.
        tied: whether the head is the embedding matrix.
        linear: parameters of the linear layers of all layers.
    """

    layers: int
    width: int
    inner: int
    query: int
    key: int
    heads: int
    normed_heads: bool
    vocabulary: int
    tied: bool
    linear: int


@dataclass(frozen=True)
class VisionShape:
    """The vision tower.

    Attributes:
        layers: number of blocks.
        width: of a patch, E.
        inner: of the MLP.
        gated: whether the MLP has a gate beside its first layer.
        merge: patches of an image that become one visual token.
        levels: feature levels, 1 and those of deepstack.
        patch_values: numbers in a patch.
        linear: parameters of all linear layers.
    """

    layers: int
    width: int
    inner: int
    gated: bool
    merge: int
    levels: int
    patch_values: int
    linear: int


@dataclass(frozen=True)
class Shape:
    """A whole model.

    Attributes:
        text: the decoder.
        vision: the tower and its projector.
        parameters: of all, each counted once.
        vision_parameters: of tower and projector.
    """

    text: TextShape
    vision: VisionShape
    parameters: int
    vision_parameters: int


def shape_of(stock: Any) -> Shape:
    """Read the sizes off a stock model, which may lie on the meta device.

    Args:
        stock: the `...ForConditionalGeneration` module, without adapters.

    Returns:
        Its sizes.
    """
    config, vision = stock.config.get_text_config(), stock.config.vision_config
    decoder, tower = stock.model.language_model, stock.model.visual
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    text = TextShape(
        layers=len(decoder.layers),
        width=config.hidden_size,
        inner=config.intermediate_size,
        query=heads * size,
        key=config.num_key_value_heads * size,
        heads=heads,
        normed_heads=hasattr(decoder.layers[0].self_attn, "q_norm"),
        vocabulary=stock.lm_head.weight.shape[0],
        tied=stock.lm_head.weight is stock.get_input_embeddings().weight,
        linear=_linear(decoder.layers),
    )
    eyes = VisionShape(
        layers=len(tower.blocks),
        width=vision.hidden_size,
        inner=vision.intermediate_size,
        gated=hasattr(tower.blocks[0].mlp, "gate_proj"),
        merge=vision.spatial_merge_size**2,
        levels=1 + len(getattr(vision, "deepstack_visual_indexes", ())),
        patch_values=3 * getattr(vision, "temporal_patch_size", 1) * vision.patch_size**2,
        linear=_linear(tower),
    )
    return Shape(text, eyes, _size(stock), _size(tower))


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _linear(module: nn.Module) -> int:
    """Parameters of linear layers."""
    return sum(_size(part) for part in module.modules() if isinstance(part, nn.Linear))
