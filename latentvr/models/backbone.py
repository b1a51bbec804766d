"""One face for all backbone families: embed, encode images, positions, decode, logits.

Stock classes of transformers are called through their public arguments; nothing is patched or forked.

Shape letters: B batch, S sequence, N visual tokens of a batch, D width, V vocabulary, F feature levels
(1, or 1 + the number of deepstack levels).
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from latentvr.attention.kernels import AttentionInputs, implementation


class Backbone:
    """Uniform access to the parts of a vision-language model.

    Args:
        model: the stock `...ForConditionalGeneration` module.
        kernel: concrete attention kernel of the language model (`two_pass`, `varlen`, `mask`, `flex`).

    Attributes:
        compiled: whether parts of the language model are compiled, for passes without a cache.
    """

    #: `config.model_type` of the models that this adapter serves.
    model_types: tuple[str, ...] = ()

    def __init__(self, model: Any, kernel: str = "mask") -> None:
        self.model = model
        self.kernel = kernel
        self.compiled = False
        model.set_attn_implementation({"text_config": implementation(kernel)})

    @property
    def text_config(self) -> Any:
        """Config of the language model."""
        return self.model.config.get_text_config()

    @property
    def width(self) -> int:
        """Width D of the language model."""
        return int(self.text_config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Device of the embedding matrix."""
        return self.embedding_weight.device

    @property
    def embedding_weight(self) -> Tensor:
        """Input embedding matrix (V, D)."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight

    @property
    def untied_head(self) -> Tensor | None:
        """The head's matrix (V, D), or None where it is the embedding matrix."""
        weight: Tensor = self.model.lm_head.weight
        return None if weight is self.embedding_weight else weight

    @property
    def language_model(self) -> Any:
        """The text decoder."""
        return self.model.model.language_model

    @property
    def vision_tower(self) -> Any:
        """Vision encoder and projector."""
        return self.model.model.visual

    def embed(self, ids_BS: Tensor) -> Tensor:
        """Look up input embeddings (B, S, D)."""
        out: Tensor = self.model.get_input_embeddings()(ids_BS)
        return out

    def encode_images(self, pixel_values: Tensor, grid: Tensor) -> Tensor:
        """Encode images into visual embeddings after the projector, and deepstack levels where there are any.

        Args:
            pixel_values: patches (P, values).
            grid: (images, 3) in patches.

        Returns:
            Features (F, N, D): level 0 goes in at the image tokens, the others are added after the first
            F - 1 layers.
        """
        return feature_levels(self.model.model.get_image_features(pixel_values, grid, return_dict=True))

    def positions(self, ids_BS: Tensor, image_mask_BS: Tensor, grid: Tensor | None) -> Tensor:
        """Compute rotary positions (3, B, S) of unpadded sequences.

        Args:
            ids_BS: token ids, no padding.
            image_mask_BS: True at visual tokens.
            grid: (images, 3), or None without images.

        Returns:
            Positions (3, B, S): time, row and column.
        """
        positions, _ = self.model.model.get_rope_index(
            ids_BS, mm_token_type_ids=image_mask_BS.int(), image_grid_thw=grid
        )
        out: Tensor = positions
        return out

    def rotary_positions(self, positions_3BS: Tensor) -> Tensor:
        """Positions in the form that the decoder takes; here as they are."""
        return positions_3BS

    def decode(
        self,
        embeds_BSD: Tensor,
        positions_3BS: Tensor,
        attend: AttentionInputs,
        features_FND: Tensor | None = None,
        image_mask_BS: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Run the text decoder.

        Args:
            embeds_BSD: input embeddings, visual ones already in place.
            positions_3BS: rotary positions.
            attend: mask and kernel arguments, from `attention.prepare`.
            features_FND: visual features; levels above 0 are for deepstack.
            image_mask_BS: True where visual tokens stand.
            cache: a cache of transformers, or None.

        Returns:
            Hidden states after the final norm (B, S, D).
        """
        deep = {}
        if features_FND is not None and features_FND.shape[0] > 1:
            deep = {"visual_pos_masks": image_mask_BS, "deepstack_visual_embeds": list(features_FND[1:])}
        with contextlib.nullcontext() if cache is None else self.uncompiled():
            out: Tensor = self.language_model(
                inputs_embeds=embeds_BSD,
                position_ids=self.rotary_positions(positions_3BS),
                attention_mask=attend.attention_mask,
                past_key_values=cache,
                use_cache=cache is not None,
                **deep,
                **attend.kwargs,
            ).last_hidden_state
        return out

    def uncompiled(self) -> AbstractContextManager[Any]:
        """Run compiled parts as they are inside the block: decoding has other shapes, too small to gain."""
        return torch.compiler.set_stance("force_eager") if self.compiled else contextlib.nullcontext()

    def logits(self, hidden: Tensor) -> Tensor:
        """Apply the language-model head: (..., D) to (..., V)."""
        out: Tensor = self.model.lm_head(hidden)
        return out


def feature_levels(encoded: Any) -> Tensor:
    """Join what the stock model's `get_image_features` gives into features (F, N, D)."""
    levels = [_joined(encoded.pooler_output)]
    levels += [_joined(level) for level in getattr(encoded, "deepstack_features", None) or ()]
    return torch.stack(levels)


def _joined(parts: Any) -> Tensor:
    """Join per-image features (lists or tuples in newer versions of transformers) into (N, D)."""
    return parts if isinstance(parts, Tensor) else torch.cat(list(parts))


def lora_pattern(modules: list[str]) -> str:
    """Regular expression for PEFT that names linear layers of the language model and no others.

    A plain list of names would also put adapters on vision towers whose layers share these names.
    """
    return rf".*language_model\..*\.({'|'.join(modules)})"
