"""What training K embedding rows costs: K rows of their own against PEFT's copy of the whole matrix.

Run: python benchmarks/token_rows.py [--rows 151936] [--width 2048] [--tokens 512] [--latents 16]
     [--repeats 3]

A step is a forward and a backward of the same decoder of one layer with LoRA and a tied head, the new tokens
in the prompt and 32 labelled tokens. `peft` is `trainable_token_indices`, which is also the format of our
checkpoints; the script checks that both give the same loss and the same gradient of the rows. Peak memory is
how far a step rises above what the model holds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from _measure import arguments, begin, header, line, machine, medians, peak_gib, ratios, reset_peak, turns
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM

from latentvr.data.layout import NewToken
from latentvr.models.token_rows import TokenRows

ANSWERS = 32
HEAD = 64


def build(options: argparse.Namespace, device: str, dtype: torch.dtype) -> Any:
    """A decoder of one layer with the vocabulary and the width of a released model."""
    heads = options.width // HEAD
    config = Qwen3Config(
        vocab_size=options.rows, hidden_size=options.width, intermediate_size=options.width,
        num_hidden_layers=1, num_attention_heads=heads, num_key_value_heads=max(1, heads // 4), head_dim=HEAD,
        tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device(device):
        torch.manual_seed(0)
        return Qwen3ForCausalLM(config).to(dtype).requires_grad_(False)


def with_peft(options: argparse.Namespace, device: str, dtype: torch.dtype) -> tuple[Any, nn.Parameter]:
    """A step with the rows as PEFT trains them, and the rows."""
    first = options.rows - options.latents
    ids = list(range(first, options.rows))
    adapted = LoraConfig(target_modules=["q_proj"], trainable_token_indices={"embed_tokens": ids})
    model = get_peft_model(build(options, device, dtype), adapted)
    rows = next(p for name, p in model.named_parameters() if "trainable_tokens_delta" in name)

    def step(ids: Tensor) -> Tensor:
        return _loss(model(input_ids=ids, logits_to_keep=ANSWERS + 1, use_cache=False).logits, ids)

    return step, rows


def with_rows(options: argparse.Namespace, device: str, dtype: torch.dtype) -> tuple[Any, nn.Parameter]:
    """The same step with `TokenRows`, and the rows; the head knows them, as PEFT's tied one does."""
    base = build(options, device, dtype)
    ids = list(range(options.rows - options.latents, options.rows))
    tokens = [NewToken(f"<{i}>", sampled=True) for i in ids]
    own = TokenRows(tokens, ids, [True] * len(ids), base.get_input_embeddings().weight, None, 0)
    get_peft_model(base, LoraConfig(target_modules=["q_proj"]))  # puts adapters into `base`

    def step(ids: Tensor) -> Tensor:
        embeds = own(ids, base.get_input_embeddings()(ids))
        hidden = base.model(inputs_embeds=embeds, use_cache=False).last_hidden_state[:, -ANSWERS - 1 :]
        return _loss(own.score(hidden, base.lm_head(hidden)), ids)

    return step, own.rows


def _loss(logits: Tensor, ids: Tensor) -> Tensor:
    return functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, -ANSWERS:].flatten())


def call_of(step: Callable[[Tensor], Tensor], rows: nn.Parameter, ids: Tensor) -> Callable[[], float]:
    """Forward and backward, with fresh gradients."""

    def call() -> float:
        rows.grad = None
        loss = step(ids)
        loss.backward()
        return float(loss.detach())

    return call


def main() -> None:
    """Print the machine and the table."""
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--rows", type=int, default=151_936)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--latents", type=int, default=16)
    options = parser.parse_args()
    device = begin(options)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    ids = torch.randint(0, options.rows - options.latents, (2, options.tokens), device=device)
    new = torch.arange(options.rows - options.latents, options.rows, device=device)
    ids[:, : options.latents] = new
    made = {"peft": with_peft(options, device, dtype), "latentvr": with_rows(options, device, dtype)}
    calls = {name: call_of(step, rows, ids) for name, (step, rows) in made.items()}
    losses = {name: call() for name, call in calls.items()}
    gradients = [rows.grad.float() for _, rows in made.values() if rows.grad is not None]
    gap = float((gradients[0] - gradients[1]).abs().max() / gradients[0].abs().max())
    print(f"{machine(device, dtype)}; largest difference of the rows' gradients {gap:.1e} of the largest")
    assert abs(losses["peft"] - losses["latentvr"]) < 1e-2
    assert gap < 5e-2
    taken = turns(calls, options.repeats, device)
    times, shares = medians(taken), ratios(taken, "latentvr")
    header(["rows trained by"], ["loss", "step s", "/ latentvr", "peak rise GiB"])
    for name, call in calls.items():
        reset_peak(device)
        before = peak_gib(device)
        call()
        line(name, losses[name], times[name], shares[name], peak_gib(device) - before)


if __name__ == "__main__":
    main()
