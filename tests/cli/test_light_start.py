"""Help must not wait for torch: which modules each command line loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "peft", "datasets", "omegaconf", "numpy", "PIL", "yaml")
CODE = """
import sys
from latentvr.cli.main import main
try:
    main()
except SystemExit as leave:
    print("LOADED", leave.code, [name for name in {heavy} if name in sys.modules])
"""
VERBS = [
    "train",
    "rl",
    "eval",
    "compare",
    "diagnose",
    "generate",
    "demo",
    "validate",
    "explain",
    "env",
    "data",
    "data check",
    "data preview",
    "data build",
]


def _last_line(*arguments: str) -> str:
    code = CODE.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_loads_nothing_heavy(verb: str) -> None:
    assert _last_line(*verb.split(), "--help") == "LOADED 0 []"


def test_the_version_loads_nothing_heavy() -> None:
    assert _last_line("--version") == "LOADED 0 []"


def test_validate_and_explain_load_no_torch() -> None:
    for arguments in (["explain", "optim.warmup"], ["validate", "no-such.yaml"]):
        assert "torch" not in _last_line(*arguments)
        assert "transformers" not in _last_line(*arguments)


def test_a_recipe_of_reinforcement_is_checked_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("data: {train: t.jsonl}\nrl: {rewards: [nonsense]}\n")
    line = _last_line("validate", str(path))
    assert line.startswith("LOADED 2 ")
    assert "torch" not in line
    assert "transformers" not in line


def test_the_package_itself_loads_nothing_heavy_and_has_no_other_names() -> None:
    code = (
        "import sys, latentvr\n"
        "assert latentvr.__version__\n"
        "try:\n    latentvr.nothing\nexcept AttributeError as error:\n    print(error)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["module 'latentvr' has no attribute 'nothing'", "[]"]
