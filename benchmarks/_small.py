"""Small random models that answer with latents, and prompts for them and for large ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from latentvr.attention.roles import Role
from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import ModelConfig
from latentvr.models import tiny
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import attach
from latentvr.reasoners.base import Stage
from latentvr.reasoners.registry import config_class

STAGE = Stage("test", CAUSAL)
VOCABULARY, GRID, PATCH, PROMPT = 600, (1, 6, 8), 14, 75
PHRASES = ["what is in the picture ?", "a cat on a chair"]


@dataclass(frozen=True)
class Shape:
    """Size of the text decoder."""

    width: int
    layers: int
    heads: int
    key_heads: int
    inner: int

    def __str__(self) -> str:
        heads = f"{self.heads}/{self.key_heads} heads"
        return f"{self.width} x {self.layers}, {heads}, ffn {self.inner}, {VOCABULARY} ids"


SHAPES = {"golden": Shape(64, 3, 4, 2, 128), "wide": Shape(512, 8, 8, 4, 1408)}


def build(shape: Shape) -> LatentModel:
    """A random model of the shape, its vision tower the same for all shapes."""
    processor = tiny.build_processor(PHRASES, PATCH)
    ids = tiny.qwen2_5_vl_config(processor)
    half = shape.width // shape.heads // 2
    section = [half - 2 * (half * 3 // 8), half * 3 // 8, half * 3 // 8]
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": shape.width,
            "intermediate_size": shape.inner,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_heads,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": section},
            "bos_token_id": None,
            "eos_token_id": processor.tokenizer.eos_token_id,
            "pad_token_id": processor.tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": shape.width,
            "patch_size": PATCH,
            "window_size": 112,
            "fullatt_block_indexes": [1],
        },
        tie_word_embeddings=False,
        **{key: getattr(ids, key) for key in ("image_token_id", "video_token_id", "vision_start_token_id")},
    )
    torch.manual_seed(0)
    stock = Qwen2_5_VLForConditionalGeneration(config)
    stock.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    settings = ModelConfig(path="benchmark", dtype="float32", attention="auto")
    model = attach(stock, processor, settings, config_class("lvr")(name="lvr"), [CAUSAL]).eval()
    never_stop(model)
    return model


@torch.no_grad()
def never_stop(model: LatentModel) -> None:
    """Give what would end an answer, or open another span, a score of zero, which is never the highest."""
    model.backbone.model.lm_head.weight[model.end_ids] = 0
    if model.rows is not None:
        rows = model.rows.head_rows
        (model.rows.rows if rows is None else rows).zero_()


def prompts(
    model: LatentModel, batch: int, length: int = PROMPT, grid: tuple[int, int, int] = GRID
) -> dict[str, Any]:
    """One prompt of `length` tokens, `batch` times with other words and another image of `grid` patches."""
    span = model.reasoner.span()
    images = grid[0] * grid[1] * grid[2] // 4
    special = model.processor.tokenizer.convert_tokens_to_ids
    words = torch.randint(10, 250, (batch, length))
    words[:, 5] = special("<|vision_start|>")
    words[:, 6 : 6 + images] = model.image_token_id
    words[:, 6 + images] = special("<|vision_end|>")
    words[:, -1] = model.token_ids[span.start] if span is not None else 10
    image = torch.eq(words, model.image_token_id)
    grids = torch.tensor([grid] * batch)
    roles = torch.full_like(words, int(Role.PROMPT), dtype=torch.int8).masked_fill(image, int(Role.IMAGE))
    vision = model.backbone.model.config.vision_config
    values = 3 * getattr(vision, "temporal_patch_size", 1) * vision.patch_size**2
    return {
        "input_ids": words,
        "roles": roles,
        "position_ids": model.backbone.positions(words, image, grids),
        "pixel_values": torch.randn(batch * grid[0] * grid[1] * grid[2], values),
        "image_grid_thw": grids,
    }
