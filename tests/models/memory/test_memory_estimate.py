"""The estimate of a training step's memory against the bytes of the tensors that are alive in one."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import pytest

from latentvr.models.memory.moments import peak

ROOT = Path(__file__).parents[3]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script that measures: it runs the step on tensors without storage."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("memory")


def ratios(benchmark: Any, model: str, case: str, rows: int, **settings: Any) -> tuple[float, float]:
    """Estimate over measured: of the passes, and of what they take above weights, gradients and moments."""
    given = {"checkpointing": False, "kernel": "auto", "tiny": False, "side": 8, "answer": 12}
    given.update({"dtype": "bfloat16", **settings})
    options = argparse.Namespace(**given)
    found, moments, _ = benchmark.compared(options, model, benchmark.CASES[case], rows, "cpu")
    most = peak(moments[:-1]).total
    return most / found.passes, (most - found.held) / (found.passes - found.held)


@pytest.mark.parametrize(
    ("model", "case", "checkpointing"),
    [
        ("qwen3-vl-4b", "livr-1", False),  # two passes of attention, norms of the heads, deepstack
        ("qwen2.5-vl-3b", "lvr", True),  # the language model trains, embedding and head are one matrix
    ],
)
def test_a_step_takes_what_was_estimated(benchmark: Any, model: str, case: str, checkpointing: bool) -> None:
    """Breaks when: an operation of a layer is left out, or its numbers have another format."""
    passes, above = ratios(benchmark, model, case, 3, layers=2, side=24, checkpointing=checkpointing)
    assert passes == pytest.approx(1, abs=0.03)
    assert above == pytest.approx(1, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["qwen2.5-vl-3b", "qwen3-vl-4b", "llava-ov-1.5-4b", "qwen2.5-vl-7b"])
@pytest.mark.parametrize("case", ["livr-1", "lvr", "all"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_steps_of_published_widths_take_what_was_estimated(
    benchmark: Any, model: str, case: str, checkpointing: bool
) -> None:
    passes, above = ratios(benchmark, model, case, 4, layers=4, side=16, checkpointing=checkpointing)
    assert passes == pytest.approx(1, abs=0.05)
    assert above == pytest.approx(1, abs=0.15)
