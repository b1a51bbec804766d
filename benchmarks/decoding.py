"""Decoding with latent steps on one thread: seconds per call, beside the `generate` of transformers.

Run: python benchmarks/decoding.py [--repeats 5] [--shapes golden wide] [--batches 1 8 32] [--new 64]

The prompt has one image of 12 visual tokens and ends with the start marker, so that an answer is eight latent
slots, the closing marker and text. The rows of the head that would end an answer or open another span are
zero: no row stops early. `bare` is the stock text decoder alone: as many calls with a cache, each on a ready
embedding, without vision, head or choice. `packed` has `model.pack`, which leaves small matrices alone; the
others have not. Variants take turns within a repeat; the figure is the median of
the processor time, which a busy machine changes least and which on one thread is the duration.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import DynamicCache, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from latentvr.attention.roles import Role
from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import DecodeConfig, ModelConfig
from latentvr.decoding.loop import generate
from latentvr.models import tiny
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import attach
from latentvr.models.packed import pack
from latentvr.reasoners.base import Stage
from latentvr.reasoners.registry import config_class

STAGE = Stage("test", CAUSAL)
VOCABULARY, GRID, PATCH, PROMPT = 600, (1, 6, 8), 14, 75


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
    phrases = ["what is in the picture ?", "a cat on a chair"]
    processor = tiny.build_processor(phrases, PATCH)
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
    with torch.no_grad():
        stock.lm_head.weight[model.end_ids] = 0
        if model.rows is not None and model.rows.head_rows is not None:
            model.rows.head_rows.zero_()
    return model


def prompts(model: LatentModel, batch: int) -> dict[str, Any]:
    """The prompt, `batch` times with other words and another image."""
    span = model.reasoner.span()
    images = GRID[0] * GRID[1] * GRID[2] // 4
    special = model.processor.tokenizer.convert_tokens_to_ids
    words = torch.randint(10, 250, (batch, PROMPT))
    words[:, 5] = special("<|vision_start|>")
    words[:, 6 : 6 + images] = model.image_token_id
    words[:, 6 + images] = special("<|vision_end|>")
    words[:, -1] = model.token_ids[span.start] if span is not None else 10
    image = torch.eq(words, model.image_token_id)
    grid = torch.tensor([GRID] * batch)
    roles = torch.full_like(words, int(Role.PROMPT), dtype=torch.int8).masked_fill(image, int(Role.IMAGE))
    return {
        "input_ids": words,
        "roles": roles,
        "position_ids": model.backbone.positions(words, image, grid),
        "pixel_values": torch.randn(batch * GRID[0] * GRID[1] * GRID[2], 3 * 2 * PATCH * PATCH),
        "image_grid_thw": grid,
    }


def ours(model: LatentModel, batch: dict[str, Any], new: int, cache: str, rollouts: int = 1) -> None:
    """One call of our loop."""
    decode = DecodeConfig(max_new_tokens=new, cache=cache)  # type: ignore[arg-type]
    rows = generate(model, batch, STAGE, decode, rollouts=rollouts)
    assert all(len(row.ids) == new and sum(row.slot) == decode.latent_steps for row in rows)


def stock_generate(model: LatentModel, batch: dict[str, Any], new: int) -> None:
    """Greedy search of transformers on the same prompt: every new id is text."""
    ids = batch["input_ids"]
    out = model.base.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
        mm_token_type_ids=torch.eq(ids, model.image_token_id).int(),
        max_new_tokens=new,
        do_sample=False,
    )
    assert out.shape[1] == ids.shape[1] + new


@torch.no_grad()
def bare(model: LatentModel, batch: dict[str, Any], new: int) -> None:
    """The stock text decoder alone: a prefill of embeddings and `new` - 1 steps."""
    decoder, ids = model.backbone.language_model, batch["input_ids"]
    cache = DynamicCache(config=model.backbone.text_config)
    one = torch.zeros(len(ids), 1, model.backbone.width)
    positions = batch["position_ids"]
    embeds = model.backbone.embed(ids)
    decoder(inputs_embeds=embeds, position_ids=positions, past_key_values=cache, use_cache=True)
    positions = positions[..., -1:]
    for _ in range(new - 1):
        decoder(inputs_embeds=one, position_ids=positions, past_key_values=cache, use_cache=True)


def medians(variants: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Seconds of each variant; one turn to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats + 1):
        for name, call in variants.items():
            started = time.process_time()
            call()
            if turn:
                seconds[name].append(time.process_time() - started)
    return {name: statistics.median(found) for name, found in seconds.items()}


def compare(model: LatentModel, packed: LatentModel, batch: int, new: int, repeats: int) -> dict[str, float]:
    """Seconds per call of every variant at one batch size."""
    given = prompts(model, batch)
    return medians(
        {
            "packed": lambda: ours(packed, given, new, "dynamic"),
            "dynamic": lambda: ours(model, given, new, "dynamic"),
            "static": lambda: ours(model, given, new, "static"),
            "transformers": lambda: stock_generate(model, given, new),
            "bare": lambda: bare(model, given, new),
        },
        repeats,
    )


def group(model: LatentModel, new: int, repeats: int, size: int = 8) -> dict[str, float]:
    """Seconds of `size` rollouts of one prompt: from one prefill, and one after another."""
    given = prompts(model, 1)
    return medians(
        {
            "one prefill": lambda: ours(model, given, new, "dynamic", size),
            "single calls": lambda: [ours(model, given, new, "dynamic") for _ in range(size)] and None,
        },
        repeats,
    )


def report(names: Sequence[str], batches: Sequence[int], new: int, repeats: int) -> None:
    """Print both tables."""
    models, packed = ({name: build(SHAPES[name]) for name in names} for _ in range(2))
    for model in packed.values():
        pack(model)
    columns = ("batch", "packed s", "ids/s", "dynamic s", "ids/s", "static s", "transformers s", "bare s")
    print(f"\n| text decoder | {' | '.join(columns)} |")
    print(f"|---|{'--:|' * 8}")
    for name, model in models.items():
        for batch in batches:
            found = compare(model, packed[name], batch, new, repeats)
            rates = {key: batch * new / seconds for key, seconds in found.items()}
            print(
                f"| {SHAPES[name]} | {batch} | {found['packed']:.4f} | {rates['packed']:.0f} "
                f"| {found['dynamic']:.4f} | {rates['dynamic']:.0f} | {found['static']:.4f} "
                f"| {found['transformers']:.4f} | {found['bare']:.4f} |",
                flush=True,
            )
    print(f"\n| text decoder | 8 rollouts, one prefill s | 8 calls s | ratio |\n|---|{'--:|' * 3}")
    for name, model in models.items():
        found = group(model, new, repeats)
        together, apart = found["one prefill"], found["single calls"]
        print(f"| {SHAPES[name]} | {together:.4f} | {apart:.4f} | {apart / together:.1f} |", flush=True)


def main() -> None:
    """Print the machine and the tables."""
    parser = argparse.ArgumentParser(description="Decoding on this machine's CPU.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--new", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.system()} {platform.machine()}, one thread, float32, torch {torch.__version__}, "
        f"transformers {transformers.__version__}; prompt {PROMPT}, {options.new} new ids, 8 of them latent"
    )
    report(options.shapes, options.batches, options.new, options.repeats)


if __name__ == "__main__":
    main()
