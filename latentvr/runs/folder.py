"""The run folder: recipe, resolved settings, manifest, metrics, checkpoints."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from latentvr.config.load import Resolved, load
from latentvr.data.record import Source
from latentvr.data.written import to_row
from latentvr.errors import RecipeError
from latentvr.trainers.writing import saved_or_told

RESOLVED = "resolved.yaml"
PACKAGES = ("latentvr", "torch", "transformers", "peft", "accelerate", "numpy")


def require_place(resolved: Resolved, resume: bool) -> None:
    """Check the run folder before anything slow happens; nothing is written.

    Args:
        resolved: a checked recipe; `train.output_dir` says where.
        resume: whether a run in this folder is to go on.

    Raises:
        RecipeError: a new run's folder holds something, or there is no run of this recipe to resume.
    """
    folder = Path(resolved.recipe.train.output_dir)
    settings = folder / RESOLVED
    if resume:
        if not settings.is_file():
            raise RecipeError(
                f"expected a run to resume, got none, at train.output_dir={folder}; "
                "fix: leave out --resume, or give the folder of the run"
            )
        _require_same(settings, resolved)
    elif folder.is_dir() and any(folder.iterdir()):
        going_on = "add --resume to go on with it, or " if settings.is_file() else ""
        raise RecipeError(
            f"expected an empty or new run folder, got files, at train.output_dir={folder}; "
            f"fix: {going_on}choose another train.output_dir"
        )


def open_folder(resolved: Resolved) -> Path:
    """Create the run folder with its recipe, unless it is there already.

    Args:
        resolved: a checked recipe; `train.output_dir` says where.

    Returns:
        The folder.

    Raises:
        SaveError: the system refused to write there.
    """
    folder = Path(resolved.recipe.train.output_dir)
    settings = folder / RESOLVED
    if not settings.is_file():
        with saved_or_told(settings):
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            (folder / "recipe.yaml").write_text(resolved.text, encoding="utf-8")
            # Last and in one step: its presence says that the folder is a run's.
            replace_text(settings, resolved.to_yaml())
    return folder


def replace_text(file: Path, text: str) -> None:
    """Write a file in one step: a kill leaves the old text or the new."""
    aside = file.with_name(f"{file.name}.partial")
    aside.write_text(text, encoding="utf-8")
    aside.replace(file)


def _require_same(settings: Path, resolved: Resolved) -> None:
    """Refuse to resume under other settings: the result would be neither run's."""
    # Settings that an earlier version did not know had the values that are now their defaults.
    before, now = (_flat(yaml.safe_load(text)) for text in (load(settings).to_yaml(), resolved.to_yaml()))
    for key in [key for key in {**before, **now} if before.get(key) != now.get(key)]:
        # The folder may have been moved, or named from another place; checkpoints know neither of DeepSpeed
        # nor of activations that are computed twice.
        if key not in ("train.output_dir", "train.deepspeed", "model.gradient_checkpointing"):
            raise RecipeError(
                f"expected {key}={before.get(key)} as in the run that is resumed, got {now.get(key)}, "
                f"at {settings}; fix: resume with the same recipe and overrides, or start a new run folder"
            )


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Full keys and values of nested settings."""
    if not isinstance(values, dict):
        return {prefix: values}
    parts = [_flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in values.items()]
    return {key: value for part in parts for key, value in part.items()}


def fingerprint(source: Source) -> str:
    """SHA-256 over all records of a source, in order."""
    sha = hashlib.sha256()
    for record in source.records:
        sha.update(json.dumps(to_row(record), sort_keys=True).encode())
    return sha.hexdigest()


def write_manifest(folder: Path, facts: dict[str, Any], step: int) -> None:
    """Write `manifest.json`: versions, machine, git state and the facts of the run.

    A resumed run adds what it was resumed with, under `resumed`, and keeps the rest.

    Args:
        folder: run folder.
        facts: `seed`, `data` (with its `sha256`), `attention`.
        step: optimiser step at which the run begins or goes on.

    Raises:
        RecipeError: the training data are not those that the run began with.
        SaveError: the system refused the write.
    """
    file = folder / "manifest.json"
    here = {
        "versions": versions(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": git_state(),
    }
    if file.is_file():
        manifest = read_manifest(file)
        _require_same_data(manifest.get("data"), facts["data"], file)
        resumed = {"step": step, "zero_stage": facts.get("zero_stage"), **here}
        manifest["resumed"] = [*manifest.get("resumed", []), resumed]
    else:
        manifest = {**here, **facts}
    with saved_or_told(file):
        replace_text(file, json.dumps(manifest, indent=2) + "\n")


def read_manifest(file: Path) -> dict[str, Any]:
    """Read a run's manifest."""
    try:
        manifest = json.loads(file.read_bytes())
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise RecipeError(f"expected a JSON object, got a damaged file, at {file}; fix: restore or remove it")
    return manifest


def _require_same_data(before: Any, now: dict[str, Any], file: Path) -> None:
    """Refuse to go on with other records: order and losses would be neither run's."""
    if before != now:
        raise RecipeError(
            f"expected the training data that the run began with, got other records, at {file}; "
            "fix: restore the data, or start a new run folder"
        )


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


def run_folder(path: Path) -> Path | None:
    """Find the run folder that a path is, or that a checkpoint lies in; None where there is none."""
    candidates = (path, path.parent.parent, path.resolve().parent.parent)
    return next((root for root in candidates if (root / RESOLVED).is_file()), None)


def settings_of(path: Path, overrides: Sequence[str] = ()) -> Resolved:
    """Settings of the run that a path belongs to, or the defaults, with overrides on top.

    Args:
        path: run folder, checkpoint, model folder or hub id.
        overrides: `key=value` texts.

    Returns:
        The settings.

    Raises:
        RecipeError: an override is wrong.
    """
    root = run_folder(path)
    return load(root / RESOLVED if root else None, overrides)
