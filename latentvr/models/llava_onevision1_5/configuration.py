"""Settings of LLaVA-OneVision-1.5 (arXiv 2509.23661): a RICE vision tower before a plain Qwen3 decoder.

Field names are those of the released `config.json`, so that it is read as it is.
"""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig, Qwen3Config


class RiceVisionConfig(PretrainedConfig):
    """Settings of the vision tower; the defaults are those of the released model of 4 billion parameters."""

    model_type = "rice_vit"
    base_config_key = "vision_config"
    attribute_map = {"num_attention_heads": "num_heads", "num_hidden_layers": "depth"}  # noqa: RUF012 - no field

    depth: int = 24
    hidden_size: int = 1024
    hidden_act: str = "gelu"
    intermediate_size: int = 4096
    num_heads: int = 16
    in_channels: int = 3
    patch_size: int = 14
    spatial_merge_size: int = 2
    temporal_patch_size: int = 1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    text_hidden_size: int = 2560


class LlavaOneVision15Config(PretrainedConfig):
    """Settings of the whole model.

    `tie_word_embeddings` of the text section counts where the whole config has none; both say the same after
    loading.
    """

    model_type = "llavaonevision1_5"
    sub_configs = {"vision_config": RiceVisionConfig, "text_config": Qwen3Config}  # noqa: RUF012 - no field
    # What versions of transformers from 5.23 ask for beside it: without it they save every default.
    sub_configs_defaults = dict(sub_configs)  # noqa: RUF012 - no field
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 - no field

    text_config: dict[str, Any] | PretrainedConfig | None = None
    vision_config: dict[str, Any] | PretrainedConfig | None = None
    image_token_id: int = 151655
    video_token_id: int = 151656
    vision_start_token_id: int = 151652
    vision_end_token_id: int = 151653
    tie_word_embeddings: bool | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Build the sections."""
        self.vision_config = _section(self.vision_config, RiceVisionConfig)
        text: Any = _section(self.text_config, Qwen3Config)
        if self.tie_word_embeddings is None:
            self.tie_word_embeddings = bool(text.tie_word_embeddings)
        text.tie_word_embeddings = self.tie_word_embeddings
        self.text_config = text
        super().__post_init__(**kwargs)


def _section(given: dict[str, Any] | PretrainedConfig | None, kind: type[Any]) -> Any:
    """A section as a config; the text section's released `model_type` is a name of its own for Qwen3."""
    if isinstance(given, PretrainedConfig):
        return given
    return kind(**{key: value for key, value in (given or {}).items() if key != "model_type"})
