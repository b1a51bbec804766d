"""The runner of benchmarks: what fails or takes too long leaves what it had, and is told."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def load(name: str) -> ModuleType:
    """A file of the folder as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    return load("__main__")


def test_the_gpu_part_names_scripts_that_exist(runner: ModuleType) -> None:
    # Breaks if a script is renamed and its part is not.
    scripts = {script.stem for script in BENCHMARKS.glob("[!_]*.py")}
    assert set(runner.SCRIPTS) - {"tests"} <= scripts
    assert set(runner.STUDIES) <= scripts
    assert sum(part.minutes for part in runner.ON_A_GPU) < 28


def test_a_failure_keeps_the_table_and_says_why(runner: ModuleType, tmp_path: Path) -> None:
    code = "import sys; print('| 1 |'); sys.exit('no memory')"
    assert runner.run("made", ["-c", code], tmp_path, 30) == "exit code 1\nno memory"
    assert (tmp_path / "made.md").read_text() == "| 1 |\n"


def test_what_takes_too_long_is_cut_off_and_keeps_its_rows(runner: ModuleType, tmp_path: Path) -> None:
    code = "import time; print('| 1 |', flush=True); time.sleep(10); print('| 2 |')"
    assert runner.run("made", ["-c", code], tmp_path, 2.0).startswith("cut off")
    assert (tmp_path / "made.md").read_text() == "| 1 |\n"


def test_the_summary_names_what_failed(runner: ModuleType, tmp_path: Path) -> None:
    assert runner._summed_up({"a": "", "b": "exit code 1"}, tmp_path) == ["b"]
    assert (tmp_path / "summary.md").read_text() == "- a: done\n- b: exit code 1\n"


def test_ratios_are_taken_within_a_turn() -> None:
    # Breaks if medians are divided: a slow second turn would hide in one of them.
    measure = load("_measure")
    assert measure.ratios({"a": [1.0, 8.0, 3.0], "b": [1.0, 2.0, 3.0]}, "b") == {"a": 1.0, "b": 1.0}
    assert measure.medians({"a": [1.0, 8.0, 3.0]}) == {"a": 3.0}


@pytest.mark.slow
def test_the_gpu_part_runs_line_by_line_without_a_gpu(tmp_path: Path) -> None:
    names = ["attention", "decoding", "grpo"]  # the others have the same lines on both devices
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--gpu",
        "--tiny",
        "--out",
        str(tmp_path),
        "--only",
        *names,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "summary.md").read_text() == "".join(
        f"- {n}: done\n" for n in ("attention", "grpo", "decoding")
    )
    assert all((tmp_path / f"{name}.md").read_text().count("|") > 30 for name in names)
