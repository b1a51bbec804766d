"""A method in a package of its own: found by its entry point, trained and evaluated, contract and all.

`glimpse` uses the hooks of methods whose latents stand in the prompt and changes nothing in the library.
Breaks when: a hook is not called, a loss term is not logged by its name,
or anything but the registry has to know a method.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def _python(*args: str) -> subprocess.CompletedProcess[str]:
    paths = [str(HERE), str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "glimpse"
    _python("-m", "latentvr", "train", str(HERE / "recipe.yaml"), f"train.output_dir={folder}")
    return folder


def test_the_package_is_short() -> None:
    lines = [(HERE / "glimpse" / name).read_text().count("\n") for name in ("config.py", "reasoner.py")]
    assert sum(lines) <= 60


def test_every_hook_is_used() -> None:
    """By the example, or by a method of the library that opens spans in its answers."""
    code = (
        "from latentvr.reasoners import registry\n"
        "from latentvr.reasoners.base import LatentReasoner as Base\n"
        "used = {n for name in registry.names() for n in vars(registry.reasoner_class(name))}\n"
        "own = vars(registry.reasoner_class('glimpse'))\n"
        "hooks = [n for n, f in vars(Base).items() if callable(f) and not n.startswith('_')]\n"
        "hooks.remove('config_class')\n"
        "print(set(hooks) - used, sorted(set(hooks) & set(own)))"
    )
    wanted = "['layout', 'loss_counts', 'losses', 'modules', 'slot_inputs', 'tokens']"
    assert _python("-c", code).stdout.strip() == f"set() {wanted}"


def test_its_loss_term_is_logged_by_name(run_folder: Path) -> None:
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["glimpse_distance"] > 0
        assert row["loss"] == pytest.approx(row["ce"] + 0.5 * row["glimpse_distance"], rel=1e-4)
    assert rows[-1]["ce"] < rows[0]["ce"]


def test_its_module_is_saved(run_folder: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(run_folder / "checkpoints" / "last" / "reasoner.safetensors")
    assert set(weights) == {"project.weight", "project.bias"}


def test_it_is_evaluated(run_folder: Path) -> None:
    done = _python("-m", "latentvr", "eval", str(run_folder))
    assert "/4" in done.stdout
    assert len((run_folder / "eval" / "test" / "predictions.jsonl").read_text().splitlines()) == 4


FAST = [
    f"tests/contract/test_{name}.py" for name in ("packing", "blocked_sight", "save_and_load", "what_trains")
]


@pytest.mark.parametrize(
    ("where", "family"),
    [(FAST, "qwen3-vl"), pytest.param(["tests/contract"], "", marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_it_keeps_the_contract(where: list[str], family: str) -> None:
    done = _python(
        "-m", "pytest", "-p", "no:randomly", *where, "-k", f"glimpse and {family}".removesuffix(" and ")
    )
    assert " passed" in done.stdout
