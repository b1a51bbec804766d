"""LLaVA-OneVision-1.5 (arXiv 2509.23661): the RICE tower, the stock Qwen3 decoder and a head.

The released code is not run: it was written for older versions of transformers, and strips the class tokens
of the second and later images of a batch at the wrong places. Weights are called as in the released files.

Shape letters: B batch, S sequence, P patches, N visual tokens of one image, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel, Qwen3Model
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)

from latentvr.errors import ModelError
from latentvr.models.llava_onevision1_5.configuration import LlavaOneVision15Config
from latentvr.models.llava_onevision1_5.repeated_images import repeated_images
from latentvr.models.llava_onevision1_5.vision import RiceTransformer


class LlavaOneVision15PreTrainedModel(PreTrainedModel):
    """What the bare model and the one with a head have in common."""

    config_class = LlavaOneVision15Config
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ("Qwen3DecoderLayer", "RiceBlock")
    _skip_keys_device_placement = ("past_key_values",)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True


class LLaVAOneVision1_5_Model(LlavaOneVision15PreTrainedModel):  # noqa: N801 - the released name
    """Vision tower and text decoder."""

    def __init__(self, config: LlavaOneVision15Config) -> None:
        super().__init__(config)
        self.visual = RiceTransformer._from_config(config.vision_config)
        self.language_model = Qwen3Model._from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The embedding matrix of the text decoder."""
        found: nn.Module = self.language_model.get_input_embeddings()
        return found

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Take another embedding matrix."""
        self.language_model.set_input_embeddings(value)

    def get_image_features(
        self, pixel_values: Tensor, image_grid_thw: Tensor, return_dict: bool = True, **kwargs: Any
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encode images.

        Args:
            pixel_values: patches (P, values).
            image_grid_thw: (images, 3) in patches.
            return_dict: False gives a tuple.
            **kwargs: of other models; ignored, as this one has no settings for a call.

        Returns:
            `last_hidden_state`, the patches before they are merged, and `pooler_output`, visual tokens (N, D)
            of each image.
        """
        del kwargs
        out = self.visual(pixel_values.to(self.visual.dtype), image_grid_thw)
        counts = image_grid_thw.prod(-1) // self.visual.spatial_merge_size**2
        out.pooler_output = out.pooler_output.split(counts.tolist())
        return out if return_dict else out.to_tuple()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        pixel_values: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Run the decoder over text with images in it.

        Args:
            input_ids: (B, S).
            attention_mask: as of the decoder; one of (B, S) also gives the positions.
            position_ids: (B, S), counted from the first token that is no padding; images count as text.
            past_key_values: a cache.
            inputs_embeds: (B, S, D), in place of `input_ids`, images already in it.
            use_cache: give a cache.
            pixel_values: patches (P, values) of all images.
            image_grid_thw: (images, 3) in patches.
            mm_token_type_ids: what processors add for models with positions in three axes; not needed.
            **kwargs: for the decoder.

        Returns:
            Hidden states after the final norm, and the cache.

        Raises:
            ModelError: placeholders and visual tokens differ in number, or there are videos.
        """
        del mm_token_type_ids
        if kwargs.get("pixel_values_videos") is not None:
            raise ModelError(
                "expected images, got pixel_values_videos, at the forward pass of LLaVA-OneVision-1.5; "
                "fix: pass frames of the video as images"
            )
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
            if pixel_values is not None:
                inputs_embeds = self._with_images(inputs_embeds, input_ids, pixel_values, image_grid_thw)
        if position_ids is None and isinstance(attention_mask, Tensor) and attention_mask.dim() == 2:
            counted = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
            position_ids = counted[:, -inputs_embeds.shape[1] :]
        out: BaseModelOutputWithPast = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        return out

    def _with_images(
        self, embeds_BSD: Tensor, ids_BS: Any, pixel_values: Tensor, grid: Tensor | None
    ) -> Tensor:
        """Put visual tokens at their placeholders."""
        if grid is None:
            raise ModelError(
                "expected image_grid_thw with pixel_values, got none, at the forward pass; "
                "fix: pass what the image processor gives"
            )
        features_ND = torch.cat(self.get_image_features(pixel_values, grid).pooler_output)  # type: ignore[union-attr]
        image_BS1 = torch.eq(ids_BS, self.config.image_token_id).unsqueeze(-1)
        if int(image_BS1.sum()) != len(features_ND):
            raise ModelError(
                f"expected {len(features_ND)} image placeholders, got {int(image_BS1.sum())}, at input_ids; "
                "fix: write a placeholder for each visual token"
            )
        return embeds_BSD.masked_scatter(image_BS1, features_ND.to(embeds_BSD))


class LLaVAOneVision1_5_ForConditionalGeneration(  # noqa: N801 - the released name, kept in saved configs
    LlavaOneVision15PreTrainedModel, GenerationMixin
):
    """The model with its head."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}  # noqa: RUF012
    accepts_loss_kwargs = False

    def __init__(self, config: LlavaOneVision15Config) -> None:
        super().__init__(config)
        self.model = LLaVAOneVision1_5_Model(config)
        text: Any = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()

    def get_image_features(self, pixel_values: Tensor, image_grid_thw: Tensor, **kwargs: Any) -> Any:
        """Encode images, as the bare model does."""
        return self.model.get_image_features(pixel_values, image_grid_thw, **kwargs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        pixel_values: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Run the model.

        Args:
            input_ids: (B, S).
            attention_mask: as of the bare model.
            position_ids: (B, S).
            past_key_values: a cache.
            inputs_embeds: (B, S, D), in place of `input_ids`.
            labels: (B, S), -100 where nothing is learned; gives a loss.
            use_cache: give a cache.
            pixel_values: patches (P, values) of all images.
            image_grid_thw: (images, 3) in patches.
            mm_token_type_ids: not needed.
            logits_to_keep: how many positions from the end get logits, 0 for all, or which.
            **kwargs: for the decoder and the loss.

        Returns:
            Logits (B, positions, vocabulary), and what else was asked for.
        """
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            pixel_values=pixel_values,
            image_grid_thw=image_grid_thw,
            mm_token_type_ids=mm_token_type_ids,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(out.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            size = self.config.text_config.vocab_size
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
            attentions=out.attentions,
        )

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: Any = None,
        **model_kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """Repeat prompts for beams and for several answers to each, their images as a whole."""
        images = {name: model_kwargs.pop(name, None) for name in ("pixel_values", "image_grid_thw")}
        values, grid = images.values()
        if (
            expand_size > 1
            and values is not None
            and grid is not None
            and model_kwargs.get("inputs_embeds") is None
        ):
            merge = self.config.vision_config.spatial_merge_size
            tokens_B = torch.eq(input_ids, self.config.image_token_id).sum(-1)
            repeated = repeated_images(values, grid, tokens_B, merge, expand_size)
            images = dict(zip(images, repeated, strict=True))
        ids, others = super()._expand_inputs_for_generation(
            expand_size=expand_size,
            is_encoder_decoder=is_encoder_decoder,
            input_ids=input_ids,
            **model_kwargs,
        )
        return ids, {**others, **{name: value for name, value in images.items() if value is not None}}
