"""Decoding with latent steps: seconds per call beside the `generate` of transformers, on one thread or a GPU.

Run: python benchmarks/decoding.py [--device auto] [--repeats 3] [--shapes golden wide] [--batches 1 8 32]
     [--new 64] [--models qwen3-vl-4b …] [--layers 2]

The prompt has one image and ends with the start marker, so that an answer is eight latent slots, the closing
marker and text. The rows of the head that would end an answer or open another span are zero: no row stops
early. `bare` is the stock text decoder alone: as many calls with a cache, each on a ready embedding, without
vision, head or choice. Variants take turns within a repeat; figures are medians.

Without arguments a CPU takes small models in float32, an image of 12 visual tokens and processor time; of the
variants `packed` has `model.pack`, which leaves small matrices alone, and the others have not.

A GPU takes models of published sizes whole, with random weights in bfloat16, and an image of 256 visual
tokens. `share` is of the limit that memory sets: a step must read all weights of the text layers and the head
once, and the keys and values of every row. The limit is these bytes over the bandwidth of a copy, which is
measured first; a step is a call less the same call for one id, over the ids between.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch
from _measure import arguments, bandwidth, begin, header, line, machine, medians, reset_peak, turns
from _real import load, stock_inputs, with_method, with_models
from _small import PROMPT, SHAPES, STAGE, build, never_stop, prompts
from transformers import DynamicCache

from latentvr.config.schema import DecodeConfig
from latentvr.decoding.loop import generate
from latentvr.evaluation.evaluate import on_device
from latentvr.models.latent_model import LatentModel
from latentvr.models.packed import pack


def ours(model: LatentModel, batch: dict[str, Any], new: int, cache: str, rollouts: int = 1) -> None:
    """One call of our loop."""
    decode = DecodeConfig(max_new_tokens=new, cache=cache)  # type: ignore[arg-type]
    rows = generate(model, batch, STAGE, decode, rollouts=rollouts)
    latents = min(new, decode.latent_steps)
    assert all(len(row.ids) == new and sum(row.slot) == latents for row in rows)


def stock_generate(model: LatentModel, batch: dict[str, Any], new: int) -> None:
    """Greedy search of transformers on the same prompt: every new id is text."""
    given = stock_inputs(model, batch)
    out = model.base.generate(**given, max_new_tokens=new, do_sample=False)
    assert out.shape[1] == batch["input_ids"].shape[1] + new


@torch.no_grad()
def bare(model: LatentModel, batch: dict[str, Any], new: int) -> None:
    """The stock text decoder alone: a prefill of embeddings and `new` - 1 steps."""
    backbone, ids = model.backbone, batch["input_ids"]
    cache = DynamicCache(config=backbone.text_config)
    one = torch.zeros(len(ids), 1, backbone.width, device=ids.device, dtype=backbone.embedding_weight.dtype)
    positions = backbone.rotary_positions(batch["position_ids"])
    embeds = backbone.embed(ids)
    backbone.language_model(
        inputs_embeds=embeds, position_ids=positions, past_key_values=cache, use_cache=True
    )
    positions = positions[..., -1:]
    for _ in range(new - 1):
        backbone.language_model(
            inputs_embeds=one, position_ids=positions, past_key_values=cache, use_cache=True
        )


def compare(model: LatentModel, packed: LatentModel, batch: int, new: int, repeats: int) -> dict[str, float]:
    """Seconds per call of every variant at one batch size, on a CPU."""
    given = prompts(model, batch)
    calls: dict[str, Callable[[], None]] = {
        "packed": lambda: ours(packed, given, new, "dynamic"),
        "dynamic": lambda: ours(model, given, new, "dynamic"),
        "static": lambda: ours(model, given, new, "static"),
        "transformers": lambda: stock_generate(model, given, new),
        "bare": lambda: bare(model, given, new),
    }
    return medians(turns(calls, repeats, "cpu"))


def group(model: LatentModel, given: dict[str, Any], new: int, repeats: int, device: str) -> dict[str, float]:
    """Seconds of eight rollouts of one prompt: from one prefill, and one after another."""
    calls: dict[str, Callable[[], object]] = {
        "one prefill": lambda: ours(model, given, new, "dynamic", 8),
        "single calls": lambda: [ours(model, given, new, "dynamic") for _ in range(8)],
    }
    return medians(turns(calls, repeats, device))


def report_small(names: Sequence[str], batches: Sequence[int], new: int, repeats: int) -> None:
    """Both tables of small models on a CPU."""
    models, packed = ({name: build(SHAPES[name]) for name in names} for _ in range(2))
    for model in packed.values():
        pack(model)
    columns = ["batch", "packed s", "ids/s", "dynamic s", "ids/s", "static s", "transformers s", "bare s"]
    header(["text decoder"], columns)
    for name, model in models.items():
        for batch in batches:
            found = compare(model, packed[name], batch, new, repeats)
            rates = {key: f"{batch * new / took:.0f}" for key, took in found.items()}
            line(
                SHAPES[name], batch, found["packed"], rates["packed"], found["dynamic"], rates["dynamic"],
                found["static"], found["transformers"], found["bare"],
            )  # fmt: skip
    header(["text decoder"], ["8 rollouts, one prefill s", "8 calls s", "ratio"])
    for name, model in models.items():
        found = group(model, prompts(model, 1), new, repeats, "cpu")
        together, apart = found["one prefill"], found["single calls"]
        line(SHAPES[name], together, apart, apart / together)


def step_bytes(model: LatentModel, batch: int, context: float) -> float:
    """Bytes that a step must read: text layers, head, and the keys and values of `context` tokens per row."""
    backbone, config = model.backbone, model.backbone.text_config
    weights = [*backbone.language_model.layers.parameters(), backbone.model.lm_head.weight]
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kept = 2 * config.num_key_value_heads * head * config.num_hidden_layers
    size = backbone.embedding_weight.element_size()
    return sum(w.numel() * w.element_size() for w in weights) + batch * context * kept * size


def report_real(options: argparse.Namespace, device: str, dtype: torch.dtype) -> None:
    """The tables of published sizes."""
    limit = bandwidth(device, 16 if options.tiny else 2048)
    side = 4 if options.tiny else 32
    length = side * side // 4 + (20 if options.tiny else 64)
    print(f"\nbandwidth {limit / 1e9:.0f} GB/s in a copy; prompt of {length} tokens, {options.new} new ids")
    for name in options.models:
        stock, processor = load(name, device, dtype, options.layers, options.tiny)
        model = with_method(stock, processor, "lvr", dtype).eval()
        never_stop(model)
        columns = [
            "batch",
            "step s",
            "new ids/s",
            "share",
            "static cache s",
            "dynamic s",
            "transformers s",
            "bare s",
        ]
        header(["model"], columns)
        for batch in options.batches:
            given = on_device(prompts(model, batch, length, (1, side, side)), model)
            _real_row(name, model, given, limit, options.new, options.repeats, device)
        header(["model"], ["8 rollouts, one prefill s", "8 calls s", "ratio"])
        given = on_device(prompts(model, 1, length, (1, side, side)), model)
        found = group(model, given, options.new, 1, device)
        line(name, *found.values(), found["single calls"] / found["one prefill"])
        del stock, model, given
        reset_peak(device)


def _real_row(
    name: str,
    model: LatentModel,
    given: dict[str, Any],
    limit: float,
    new: int,
    repeats: int,
    device: str,
) -> None:
    calls: dict[str, Callable[[], None]] = {
        "first": lambda: ours(model, given, 1, "dynamic"),
        "dynamic": lambda: ours(model, given, new, "dynamic"),
        "static": lambda: ours(model, given, new, "static"),
        "transformers": lambda: stock_generate(model, given, new),
        "bare": lambda: bare(model, given, new),
    }
    found = medians(turns(calls, repeats, device))
    batch, length = given["input_ids"].shape
    step = (found["dynamic"] - found["first"]) / (new - 1)
    share = step_bytes(model, batch, length + new / 2) / limit / step
    line(
        name, batch, step, f"{batch / step:.0f}", share, found["static"], found["dynamic"],
        found["transformers"], found["bare"],
    )  # fmt: skip


def main() -> None:
    """Print the machine and the tables."""
    parser = arguments(__doc__, 0)
    with_models(parser, [])
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--new", type=int)
    options = parser.parse_args()
    device = begin(options)
    large = device == "cuda" or options.tiny
    options.new = options.new or (12 if options.tiny else 64)
    options.repeats = options.repeats or (1 if options.tiny else 2 if large else 3)
    everything = ["qwen2.5-vl-3b", "qwen3-vl-4b", "llava-ov-1.5-4b", "qwen2.5-vl-7b"]
    options.models = options.models or (everything[2:3] if options.tiny else everything)
    options.batches = options.batches or (
        [1, 2] if options.tiny else [1, 4, 16, 64, 128] if large else [1, 8, 32]
    )
    dtype = torch.bfloat16 if large else torch.float32
    print(f"{machine(device, dtype)}; {options.new} new ids, 8 of them latent")
    if large:
        report_real(options, device, dtype)
    else:
        print(f"prompt of {PROMPT} tokens")
        report_small(options.shapes, options.batches, options.new, options.repeats)


if __name__ == "__main__":
    main()
