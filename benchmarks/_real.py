"""Models of published sizes with random weights, and samples for them made as training makes them.

Tokenizers are not published with sizes: a small one of the library writes the text, its ids being the first
of the real vocabulary. Everything else (widths, depths, vocabulary, patches) is as published.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.config.schema import ModelConfig
from latentvr.data.collate import collate
from latentvr.data.encode import Encoder
from latentvr.data.processor import Processor
from latentvr.data.record import Box, Record
from latentvr.evaluation.evaluate import on_device
from latentvr.models import tiny
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import attach
from latentvr.models.published_shapes import random_model
from latentvr.reasoners.registry import config_class

#: Published models by a short name, and the tiny model of each family.
MODELS = {
    "qwen2.5-vl-3b": ("Qwen/Qwen2.5-VL-3B-Instruct", "tiny-qwen2.5-vl"),
    "qwen3-vl-4b": ("Qwen/Qwen3-VL-4B-Instruct", "tiny-qwen3-vl"),
    "llava-ov-1.5-4b": ("lmms-lab/LLaVA-OneVision-1.5-4B-Instruct", "tiny-llava-ov-1.5"),
    "qwen2.5-vl-7b": ("Qwen/Qwen2.5-VL-7B-Instruct", "tiny-qwen2.5-vl"),
}
WORDS = ["what is in the picture ?", "a cat on a chair"]


@dataclass(frozen=True)
class Size:
    """A batch of samples: rows, the side of each square image in visual tokens, words of question and answer.

    LVR's region is the middle half of each side, so a quarter of the visual tokens.
    """

    rows: int
    side: int
    question: int = 60
    answer: int = 12


def with_models(parser: argparse.ArgumentParser, default: list[str]) -> None:
    """Add the choice of models and their depth."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=default)
    parser.add_argument("--layers", type=int, help="cut text decoder and vision tower to so many layers")


def load(
    name: str, device: str, dtype: torch.dtype, layers: int | None, small: bool
) -> tuple[Any, Processor]:
    """A stock model with random weights and its processor; with `small`, the tiny model of its family."""
    path, family = MODELS[name]
    if small:
        model, processor = tiny.build(family, WORDS)
        return model.to(device, dtype), processor
    model = random_model(path, dtype, device, layers=layers)
    config, tokenizer = model.config, tiny.build_tokenizer(WORDS)
    vision = config.vision_config
    config.update(tiny.special_ids(tokenizer))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    patches = Qwen2VLImageProcessorPil(
        patch_size=vision.patch_size,
        merge_size=vision.spatial_merge_size,
        temporal_patch_size=getattr(vision, "temporal_patch_size", 1),
        size={"shortest_edge": 1, "longest_edge": 1 << 26},
    )
    return model, Processor(tokenizer, patches)


def with_method(stock: Any, processor: Processor, method: str, dtype: torch.dtype) -> LatentModel:
    """Put a method on the stock model, which several may share one after another."""
    settings = ModelConfig(path="benchmark", dtype=str(dtype).removeprefix("torch."))  # type: ignore[arg-type]
    model = attach(stock, processor, settings, config_class(method)(name=method), [CAUSAL, BOTTLENECK])
    return model.to(stock.device)  # what the method adds begins on the CPU


def samples(model: LatentModel, size: Size) -> dict[str, Any]:
    """A batch for training, on the model's device."""
    processor = model.processor
    images = processor.image_processor
    encoder = Encoder(
        processor, model.reasoner.layout, model.reasoner.tokens(), model.backbone.positions, 1 << 20
    )
    random = np.random.default_rng(0)
    pixels = size.side * images.patch_size * images.merge_size
    made = []
    for row in range(size.rows):
        picture = Image.fromarray(random.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8))
        question, answer = (" ".join(["cat"] * count) for count in (size.question, size.answer))
        record = Record(
            str(row), "benchmark", "train", ("made",), question, answer,
            bboxes=(Box(0, (0.25, 0.25, 0.75, 0.75)),),
        )  # fmt: skip
        with torch.device("cpu"):
            made.append(encoder.encode(record, [picture]))
    return on_device(collate(made, processor.tokenizer.pad_token_id), model)


def stock_inputs(model: LatentModel, batch: Mapping[str, Any]) -> dict[str, Any]:
    """What the processor of transformers and its collator would hand to the stock model, without labels."""
    ids = batch["input_ids"]
    given = {key: batch[key] for key in ("input_ids", "pixel_values", "image_grid_thw")}
    given["attention_mask"] = (batch["roles"] != int(Role.PAD)).long()
    if model.backbone.model.config.model_type.startswith("qwen"):  # others count positions in one axis
        given["mm_token_type_ids"] = torch.eq(ids, model.image_token_id).int()
    return given
