"""Steps of one token per row through the layers of a stock text decoder.

A call of the text decoder as a whole computes rotary factors, reads its config and asks for a mask anew for
each token, which shows in small models. Here rotary factors of many steps are computed at once,
and the layers are called one after another as the decoder calls them, with the same results to the bit.

Shape letters: B batch, T columns of the cache, D width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, arange

from latentvr.attention.kernels import AttentionInputs
from latentvr.models.backbone import Backbone

#: Steps whose rotary factors are computed together.
AHEAD = 64


class Steps:
    """Calls the layers for each new token.

    Args:
        backbone: with a text decoder that has `layers`, `norm` and `rotary_emb`.
        cache: holds the prompts; each step adds a token per row.
        positions_3B1: rotary positions of the last tokens of the prompts; each step is one further on.
    """

    def __init__(self, backbone: Backbone, cache: Any, positions_3B1: Tensor) -> None:
        self.backbone = backbone
        self.cache = cache
        self.positions = positions_3B1
        decoder, config = backbone.language_model, backbone.text_config
        self._layers, self._norm, self._rotary = list(decoder.layers), decoder.norm, decoder.rotary_emb
        rope = getattr(self._rotary, "rope_type", "default")
        # Layers that see a part of the text and factors that change with its length are left to the decoder.
        self._whole = rope in ("dynamic", "longrope") or any(
            kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()
        )
        self._factors: list[tuple[Tensor, Tensor]] = []

    def __call__(self, fed_BD: Tensor, mask: Tensor | None) -> Tensor:
        """Run one step.

        Args:
            fed_BD: what is fed in each row.
            mask: bool (B, 1, 1, T), True = may attend, or None where every token sees all others.

        Returns:
            Hidden states after the final norm (B, D).
        """
        self.positions = self.positions + 1 if self._whole else self.positions
        hidden_B1D = fed_BD.unsqueeze(1)
        if self._whole:
            attend = AttentionInputs(mask)
            return self.backbone.decode(hidden_B1D, self.positions, attend, cache=self.cache)[:, -1]
        if not self._factors:
            self._look_ahead(hidden_B1D)
        factors = self._factors.pop()
        for layer in self._layers:
            hidden_B1D = layer(
                hidden_B1D, attention_mask=mask, position_embeddings=factors, past_key_values=self.cache
            )
        out: Tensor = self._norm(hidden_B1D)
        return out[:, -1]

    def _look_ahead(self, like: Tensor) -> None:
        """Compute the factors of the next steps, the nearest last."""
        ahead = self.positions + arange(1, AHEAD + 1, device=self.positions.device)
        self.positions = ahead[..., -1:]
        cosines, sines = self._rotary(like, self.backbone.rotary_positions(ahead))
        self._factors = list(zip(cosines.split(1, -2), sines.split(1, -2), strict=True))[::-1]
