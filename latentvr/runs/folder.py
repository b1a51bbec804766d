"""The run folder: recipe, resolved settings, manifest, metrics, checkpoints."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from latentvr.config.load import Resolved
from latentvr.data.record import Source
from latentvr.data.written import to_row
from latentvr.errors import RecipeError

RESOLVED = "resolved.yaml"
PACKAGES = ("latentvr", "torch", "transformers", "peft", "accelerate", "numpy")


def open_folder(resolved: Resolved, resume: bool) -> Path:
    """Create the run folder, or open it again with `resume`.

    Raises:
        RecipeError: it holds something already, or holds another run than this recipe's.
    """
    folder = Path(resolved.recipe.train.output_dir)
    settings = folder / RESOLVED
    if resume and settings.is_file():
        _require_same(settings, resolved)
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        fix = "add --resume to go on with it, or choose another train.output_dir"
        raise RecipeError(
            f"expected an empty or new run folder, got files, at train.output_dir={folder}; fix: {fix}"
        )
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(resolved.text, encoding="utf-8")
    settings.write_text(resolved.to_yaml(), encoding="utf-8")
    return folder


def _require_same(settings: Path, resolved: Resolved) -> None:
    """Refuse to resume under other settings: the result would be neither run's."""
    before, now = settings.read_text(encoding="utf-8").splitlines(), resolved.to_yaml().splitlines()
    changed = [line for line in difflib.ndiff(before, now) if line[:2] in ("- ", "+ ")]
    if changed:
        raise RecipeError(
            f"expected the settings of the run that is resumed, got {changed[-1][2:].strip()!r}, at {settings}; "
            "fix: resume with the same recipe and overrides, or start a new run folder"
        )


def fingerprint(source: Source) -> str:
    """SHA-256 over all records of a source, in order."""
    sha = hashlib.sha256()
    for record in source.records:
        sha.update(json.dumps(to_row(record), sort_keys=True).encode())
    return sha.hexdigest()


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write `manifest.json`: versions, machine, git state and the facts of the run."""
    manifest = {
        "versions": versions(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": git_state(),
        **facts,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_state() -> dict[str, Any] | None:
    """Commit of the working folder and whether it has changes; None outside a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    here = [git, "rev-parse", "HEAD"]
    commit = subprocess.run(here, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    if commit.returncode:
        return None
    status = [git, "status", "--porcelain"]
    changes = subprocess.run(status, capture_output=True, text=True, check=False)  # noqa: S603
    return {"commit": commit.stdout.strip(), "changes": bool(changes.stdout.strip())}
