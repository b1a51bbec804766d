"""The method that docs/your-own-method.md writes down is made a package, found and trained.

Breaks when: a block of the page does not run, a hook has other arguments than the page says, or anything but
the entry point is needed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "your-own-method.md"
SETTINGS = """
reasoner: {name: pause, weight: 0.5}
model: {path: tiny-qwen3-vl, dtype: float32}
data: {source: toy, tasks: [counting], toy: {train: 4, validation: 0, test: 2}}
stages: {only: {steps: 2}}
optim: {trainable: tokens, learning_rate: 1.0e-2}
train: {batch_size: 2, gradient_accumulation: 1, keep: last, validate_epochs: 0, device: cpu}
log: {every: 1}
"""


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def _latentvr(folder: Path, *arguments: str) -> str:
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "latentvr", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _install(folder: Path) -> None:
    """Write the page's blocks to where an installed package would be."""
    package = folder / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    config, reasoner = _blocks("python")
    (package / "config.py").write_text(config)
    (package / "reasoner.py").write_text(reasoner)
    (toml,) = _blocks("toml")
    ((group, name, target),) = re.findall(r'^\[project\.entry-points\."(.+)"\]\n(\w+) = "(.+)"\n$', toml)
    info = folder / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")


def test_the_pages_method_trains(tmp_path: Path) -> None:
    _install(tmp_path)
    (tmp_path / "recipe.yaml").write_text(SETTINGS)
    assert "Weight of the auxiliary loss." in _latentvr(tmp_path, "explain", "reasoner.weight")
    _latentvr(tmp_path, "train", "recipe.yaml", "train.output_dir=run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert abs(row["loss"] - row["ce"] - 0.5 * row["norm"]) < 1e-4 * row["loss"]
    card = json.loads((tmp_path / "run" / "checkpoints" / "last" / "latentvr.json").read_text())
    assert card["tokens"] == ["<|pause|>"]
