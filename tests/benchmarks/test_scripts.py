"""Every benchmark that a page names runs, on little work; no figure is checked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Arguments that make a script quick.
QUICK = {
    "agreement.py": ["--models", "llava-ov-1.5-4b"],
    "attention.py": ["--repeats", "1", "--shapes", "128", "--lengths", "128", "--variants", "two_pass"],
    "decoding.py": ["--repeats", "1", "--shapes", "golden", "--batches", "1", "--new", "12"],
    "diagnosis.py": [
        "data.toy.train=25", "data.toy.validation=4", "data.toy.test=4", "--seeds", "1",
        "--arms", "LIVR", "LVR",
    ],
    "diagnosis_cost.py": ["data.toy.train=25", "--samples", "4", "--epochs", "1"],
    "evaluation.py": ["--rows", "9", "--batches", "1", "4", "--new", "3"],
    "feature_cache.py": ["--images", "6", "--repeats", "1", "--size", "64"],
    "grpo.py": ["--repeats", "1", "--shapes", "golden", "--groups", "1", "--new", "12", "--steps", "1"],
    "sft_step.py": ["--tiny", "--models", "llava-ov-1.5-4b"],
    "loss_memory.py": ["--width", "64", "--rows", "2000", "--length", "128", "--many", "100"],
    "memory.py": ["--tiny", "--device", "cpu", "--models", "qwen3-vl-4b", "--cases", "livr-1", "--rows", "1"],
    "packing.py": ["--tiny", "--repeats", "1", "--samples", "4", "--batch", "2", "--mixes", "toy"],
    "reinforcement.py": [
        "data.toy.train=25", "data.toy.validation=4", "data.toy.test=4", "train.batch_size=16",
        "--seeds", "1", "--steps", "2", "--rewards", "chance", "--usage",
    ],
    "token_rows.py": ["--rows", "600", "--width", "128", "--tokens", "64", "--repeats", "1"],
}  # fmt: skip


def documented() -> list[str]:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    found = {c for page in pages for c in re.findall(r"^python (benchmarks/\S+)", page.read_text(), re.M)}
    return sorted(found)


def test_documented_scripts_are_those_of_the_folder() -> None:
    assert documented() == sorted(f"benchmarks/{p.name}" for p in (ROOT / "benchmarks").glob("[!_]*.py"))


def test_every_script_finds_what_it_imports() -> None:
    names = [path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")]
    code = f"import sys; sys.path.insert(0, 'benchmarks'); import {', '.join(names)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("script", documented())
def test_a_documented_benchmark_runs(script: str) -> None:
    command = [sys.executable, script, *QUICK[Path(script).name]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 3
