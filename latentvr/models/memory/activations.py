"""Bytes that a forward pass keeps for the backward pass, layer by layer, from the shapes alone.

What is kept follows from what each operation needs in its backward pass: a product needs its factors where
the other factor has a gradient, a norm its input, fused attention its query, key, value and output. All
figures are bytes per token, or per patch in the vision tower. Letters: D width, I inner width, Q and K widths
of queries and keys, H heads, a bytes of an activation (2 under autocast, 4 in float32), r rank.

Weights that train are in float32 (see `train_language`), and so is then the residual stream: autocast makes a
copy in half precision for each linear layer, which is kept, and each norm keeps what it has normed beside its
input. Frozen weights in half precision leave the stream in half precision; norms keep its copy in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from latentvr.config.schema import LoraConfig
from latentvr.models.memory.shape import TextShape, VisionShape

#: Bytes that dropout keeps for an element: a bool on CUDA, a factor in float32 on a CPU.
DROPPED = {"cuda": 1, "cpu": 4}
#: Widths of an adapted layer's input.
_FROM_STREAM = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")


@dataclass(frozen=True)
class Precision:
    """Number formats of a forward pass.

    Attributes:
        half: whether it runs under autocast in half precision.
        trains: whether the layer's own weights train, in float32.
        device: "cuda" or "cpu".
    """

    half: bool
    trains: bool
    device: str

    @property
    def activation(self) -> int:
        """Bytes of what linear layers take and give."""
        return 2 if self.half else 4

    @property
    def stream(self) -> int:
        """Bytes of a number of the residual stream."""
        return 2 if self.half and not self.trains else 4

    @property
    def copies(self) -> bool:
        """Whether each linear layer makes a copy of its input in half precision."""
        return self.half and self.trains


@dataclass(frozen=True)
class Adapters:
    """Low-rank adapters.

    Attributes:
        rank: r.
        dropout: whether there is any.
        modules: names of the adapted layers.
    """

    rank: int
    dropout: bool
    modules: tuple[str, ...]

    def kept(self, text: TextShape, precision: Precision) -> int:
        """Bytes per token and layer: dropout's mask, the input of each first matrix, that of each second.

        Inputs are cast to float32 for dropout and back for the product. In float32 and without dropout, the
        layers that read the stream share one input.
        """
        per = precision.activation + (DROPPED[precision.device] if self.dropout else 0)
        streams = sum(name in _FROM_STREAM for name in self.modules)
        if not self.dropout and not precision.half:
            streams = (len({"q_proj", "k_proj", "v_proj"} & set(self.modules)) > 0) + (
                len({"gate_proj", "up_proj"} & set(self.modules)) > 0
            )
        wide = streams * text.width
        wide += text.query * ("o_proj" in self.modules) + text.inner * ("down_proj" in self.modules)
        return per * wide + precision.activation * self.rank * len(self.modules)

    def working(self, text: TextShape, precision: Precision) -> int:
        """Bytes per token that the backward pass of the widest adapted layer holds for a moment.

        The gradient in the activations' format and that of the frozen layer, 2 a per element, and under
        autocast the gradient in float32, 4, before and after dropout.
        """
        casts = (8 if self.dropout else 4) if precision.half else 0
        return (2 * precision.activation + casts) * text.inner


def adapters_of(lora: LoraConfig) -> Adapters:
    """Read a recipe's section."""
    return Adapters(lora.r, lora.dropout > 0, tuple(lora.modules))


def decoder_layer(text: TextShape, precision: Precision, adapters: Adapters | None) -> int:
    """Bytes per token that a layer of the text decoder keeps, attention's own excepted.

    Norms: 4 D each, and 4 D more where weights train. Norms of queries and keys: 4 (Q + K) in float32, and
    a (Q + K) more where they train. MLP: gate, activated gate and up, 3 a I; where weights train its product
    too, a I, and the inputs of the other layers: a copy of D for each of the five under autocast, else one
    for attention and one for the MLP, which are the norms' results.

    Args:
        text: the decoder.
        precision: number formats.
        adapters: of the linear layers; None without.

    Returns:
        Bytes per token.
    """
    a, width = precision.activation, text.width
    kept = 2 * 4 * width + 3 * a * text.inner
    if text.normed_heads:
        kept += 4 * (text.query + text.key)
    if precision.trains:
        kept += 2 * 4 * width + a * text.inner
        kept += a * width * (5 if precision.copies else 2)
        if text.normed_heads:
            kept += a * (text.query + text.key)
    return kept + (0 if adapters is None else adapters.kept(text, precision))


def attention(text: TextShape, precision: Precision, kernel: str, tokens: int, rows: int, narrow: int) -> int:
    """Bytes that a layer's attention keeps for a batch.

    Query, key, value and output, a (2 Q + 2 K) per token, and 4 H for the softmax. A second pass over
    `narrow` tokens keeps copies of the same, and the joined output where the next layer's weights train.
    With a mask, sdpa repeats keys for all heads and makes scores' summands of rows x S x S, a bytes each.

    Args:
        text: the decoder.
        precision: number formats.
        kernel: `two_pass`, `varlen`, `mask` or `flex`.
        tokens: of the batch, padding included.
        rows: of the batch.
        narrow: tokens of the second pass; 0 where one pass is enough.

    Returns:
        Bytes.
    """
    a = precision.activation
    shares = kernel not in ("mask", "varlen") and (precision.half or precision.device == "cpu")
    keys = text.key if shares else text.query
    each = a * (2 * text.query + 2 * keys) + 4 * text.heads
    kept = each * tokens
    if kernel == "mask":
        kept += a * tokens * tokens // max(1, rows)
    elif narrow:
        kept += each * narrow + (a * text.query * tokens if precision.trains else 0)
    return kept


def vision_block(vision: VisionShape, precision: Precision) -> int:
    """Bytes per patch that a block of a vision tower that trains keeps.

    With E for the width: norms 2 x 4 E and the same again for what they gave, the joined query, key and
    value 3 a E, the turned query and key 2 a E, attention's output twice, a (E + E); the inputs of the first
    layers a E each; and of the MLP's inner width what was activated and what came of it, 2 a, or 4 a with a
    gate.

    Args:
        vision: the tower.
        precision: number formats.

    Returns:
        Bytes per patch.
    """
    a, width = precision.activation, vision.width
    kept = 2 * 4 * width + 7 * a * width + (2 if vision.gated else 1) * a * width + a * width
    kept += (2 * 4 * width) if vision.gated else 0
    return kept + (4 if vision.gated else 2) * a * vision.inner


def vision_working(vision: VisionShape, activation: int) -> int:
    """Bytes per patch that a block of the tower needs for a moment in a forward pass without gradient.

    The stream, its normed form, and either attention's joined query, key and value beside query and key
    turned in float32, or the MLP's inner states.

    Args:
        vision: the tower.
        activation: bytes of an activation.

    Returns:
        Bytes per patch.
    """
    width, inner = vision.width, vision.inner
    turning = 5 * activation * width + 5 * 4 * width
    mlp = 2 * activation * width + (3 if vision.gated else 2) * activation * inner
    return max(turning, mlp)
