"""`latentvr env`: versions and hardware, for bug reports and to see whether an installation is supported."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata

import typer

from latentvr import __version__

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "trl", "omegaconf", "numpy", "pillow")
OPTIONAL = ("deepspeed", "flash-attn", "liger-kernel")
TOOLS = ("ninja", "g++")
"""Programs that DeepSpeed compiles its parts with."""
SUPPORTED: dict[str, tuple[str, str | None]] = {
    "torch": ("2.11", None),
    "transformers": ("5.17", "5.24"),
}
"""Lowest version, and the first that is no longer supported where there is one."""


@dataclass(frozen=True)
class Line:
    """One line of the report; `supported` is false where the version is outside the range."""

    name: str
    value: str
    supported: bool = True


def run() -> None:
    """Print the report.

    Raises:
        Exit: with code 1, where a package is missing or outside its range.
    """
    packages = [package(name) for name in (*PACKAGES, *OPTIONAL)]
    tools = [Line(name, shutil.which(name) or "not found") for name in TOOLS]
    lines = [Line("latentvr", __version__), *_system(), *packages, *tools, *_devices()]
    for line in lines:
        typer.echo(f"{line.name:<14}{line.value}")
    if not all(line.supported for line in lines):
        raise typer.Exit(1)


def package(name: str) -> Line:
    """Return the installed version of a package, judged by `SUPPORTED`."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Line(name, "not installed", supported=name not in SUPPORTED)
    return judge(name, version)


def judge(name: str, version: str) -> Line:
    """Return the line of a package at `version`."""
    low, high = SUPPORTED.get(name, ("0", None))
    if _numbers(version) >= _numbers(low) and (high is None or _numbers(version) < _numbers(high)):
        return Line(name, version)
    wanted = f">= {low}" + (f", < {high}" if high else "")
    return Line(
        name, f"{version}  (expected {wanted}; fix: pip install '{name}{wanted.replace(' ', '')}')", False
    )


def _numbers(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version; later ones and suffixes do not matter here."""
    digits = (
        "".join(char for char in part if char.isdigit()) for part in version.split("+")[0].split(".")[:2]
    )
    return tuple(int(part or 0) for part in digits)


def _system() -> list[Line]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        Line("python", platform.python_version()),
        Line("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        Line("cores", str(cores)),
    ]


def _devices() -> list[Line]:
    try:
        import torch
    except ImportError:
        return [Line("cuda", "unknown, torch is not installed", supported=False)]
    if not torch.cuda.is_available():
        return [Line("cuda", "none")]
    names = (torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count()))
    return [Line("cuda", f"{device.name}, {device.total_memory / 2**30:.0f} GiB") for device in names]
