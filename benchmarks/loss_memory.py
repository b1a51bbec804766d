"""What the loss costs in memory: logits at answer positions alone against logits of the whole sequence.

Run: python benchmarks/loss_memory.py [--length 2048] [--rows 151936] [--width 256] [--answers 16]
     [--many 2000]

Each case is a process of its own: it builds the same small-width Qwen2.5-VL with the vocabulary of the
released models, runs a short step to settle the allocator, then one forward and backward on `length` tokens
of which `answers` carry a label. The figure is the rise of the peak resident memory over what was resident
before.
`stock` is the loss of transformers on the same model with `labels`, which computes logits of every position.
The last two cases have `many` labels, as packed rows and long answers do: in parts with the logits made again
in the backward pass, as training has it, and with all logits `at once`.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.config.schema import ModelConfig, ReasonerConfig
from latentvr.data import toy
from latentvr.data.encode import IGNORED
from latentvr.models import tiny
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import attach
from latentvr.models.token_loss import token_loss
from latentvr.reasoners.base import Stage

CASES = ("stock", "latentvr", "latentvr bottleneck", "latentvr many", "many at once")
HEAD = 64


@dataclass(frozen=True)
class Size:
    """What is measured: tokens, vocabulary rows, width and labelled tokens."""

    length: int
    rows: int
    width: int
    answers: int


def build(size: Size) -> LatentModel:
    """A random two-layer model in which the language model trains."""
    processor = tiny.build_processor(toy.corpus())
    config = tiny.qwen2_5_vl_config(processor)
    text = config.get_text_config()
    text.vocab_size, text.hidden_size, text.intermediate_size = size.rows, size.width, 4 * size.width
    text.num_attention_heads = text.num_key_value_heads = size.width // HEAD
    text.rope_parameters["mrope_section"] = [8, 12, 12]
    text.num_hidden_layers, text.layer_types = 2, text.layer_types[:2]
    config.vision_config.out_hidden_size = size.width
    torch.manual_seed(0)
    stock = transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    settings = ModelConfig(attention="two_pass")
    model = attach(stock, processor, settings, ReasonerConfig(), [CAUSAL, BOTTLENECK])
    # The embedding matrix and with it the tied head stay frozen, as under LoRA.
    model.backbone.language_model.layers.requires_grad_(True)
    return model


def batch_of(size: Size, length: int) -> dict[str, Tensor]:
    """Random text of `length` tokens, the last ones labelled, without images."""
    ids = torch.randint(20, 500, (1, length))
    roles = torch.full((1, length), int(Role.PROMPT), dtype=torch.int8)
    roles[:, -size.answers :] = int(Role.ANSWER)
    labels = torch.where(roles == int(Role.ANSWER), ids, IGNORED)
    positions = torch.arange(length).expand(3, 1, length)
    return {"input_ids": ids, "labels": labels, "roles": roles, "position_ids": positions}


def step_of(case: str, model: LatentModel, size: Size) -> Callable[[int], None]:
    """One forward and backward of a case, on a sequence of the length given."""
    stage = Stage("loss", BOTTLENECK if case.endswith("bottleneck") else CAUSAL)
    if case == "stock":
        model.backbone.model.set_attn_implementation("sdpa")

    def step(length: int) -> None:
        batch = batch_of(size, length)
        if case == "stock":
            loss = model.backbone.model(
                input_ids=batch["input_ids"], position_ids=batch["position_ids"], labels=batch["labels"]
            ).loss
        elif case == "many at once":
            hidden, labels = model.hidden(batch, None, stage)[:, :-1], batch["labels"][:, 1:]
            wanted = labels != IGNORED
            loss = token_loss(model, hidden[wanted], labels[wanted], True, length) / size.answers
        else:
            loss = model(batch, stage)["ce"].total / size.answers
        loss.backward()
        model.zero_grad()

    return step


def measure(case: str, size: Size) -> tuple[float, float]:
    """Resident memory before the step and its peak, in MiB; run this in a process of its own."""
    step = step_of(case, build(size), size)
    step(min(4 * size.answers, size.length))
    before = resident("VmRSS")
    reset_peak()
    step(size.length)
    return before, resident("VmHWM")


def resident(field: str) -> float:
    """Resident memory now (`VmRSS`) or at its peak (`VmHWM`), in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def reset_peak() -> None:
    """Set the peak to what is resident now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def main() -> None:
    """Print the machine and the table."""
    parser = argparse.ArgumentParser(description="Peak memory of the loss on this machine's CPU.")
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=151_936)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--answers", type=int, default=16)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = Size(options.length, options.rows, options.width, options.answers)
    if options.case:
        size = replace(size, answers=options.many) if "many" in options.case else size
        print(*measure(options.case, size))
        return
    print(
        f"{platform.system()} {platform.machine()}, float32, torch {torch.__version__}, "
        f"transformers {transformers.__version__}; {size}, many: {options.many}"
    )
    print(f"{'case':<22}{'before MiB':>12}{'peak MiB':>12}{'rise MiB':>12}")
    for case in CASES:
        command = [sys.executable, *sys.argv, "--case", case]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        before, peak = map(float, done.stdout.split())
        print(f"{case:<22}{before:>12.0f}{peak:>12.0f}{peak - before:>12.0f}", flush=True)


if __name__ == "__main__":
    main()
