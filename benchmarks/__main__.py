"""Run the benchmarks of this folder, one after the other, each in a process of its own: `make bench`.

    python -m benchmarks                                     the CPU part, then the GPU part if there is one
    python -m benchmarks --gpu [--out DIR] [--minutes 25]    the GPU part alone
    python -m benchmarks --gpu --tiny                        the same lines at a size that any machine can do
    python -m benchmarks --only diagnosis reinforcement      studies that take longer, left out otherwise

The GPU part begins with the check that kernels and devices agree, and the tests of attention where pytest is
installed. Each run has its share of the minutes, and what it leaves goes to those after it. A table is in
`DIR/NAME.md` line by line, so that a run that fails or is cut off leaves what it had; `DIR/summary.md` says
what came of each. The exit code is 1 where one failed, 2 where `--gpu` finds no CUDA.
Packages: latentvr with torch, transformers, accelerate, peft, safetensors, numpy, pillow, jinja2, pyyaml,
rich and omegaconf; torchvision, trl and datasets are not needed. flex attention wants Triton, which comes
with torch for CUDA.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
#: Trainings over seeds and not measurements of speed: they run by name alone.
STUDIES = ("diagnosis", "reinforcement")


@dataclass(frozen=True)
class Part:
    """A run on a GPU: a script, what it is given there, and the minutes of 25 that it may take."""

    script: str
    minutes: float
    models: str = ""

    @property
    def name(self) -> str:
        """What its table is called."""
        return f"{self.script}-{self.models}" if self.models else self.script


#: In the order in which they run; models apart from each other, so that one that fails leaves the others.
ON_A_GPU = (
    Part("agreement", 2.5),
    Part("tests", 1.0),
    *(Part("sft_step", 1.2, model) for model in ("qwen2.5-vl-3b", "qwen3-vl-4b", "llava-ov-1.5-4b")),
    Part("sft_step", 1.8, "qwen2.5-vl-7b"),
    Part("attention", 4.5),
    *(Part("grpo", 1.3, model) for model in ("qwen2.5-vl-3b", "qwen3-vl-4b")),
    *(Part("decoding", 2.5, model) for model in ("qwen3-vl-4b", "qwen2.5-vl-7b")),
    Part("packing", 1.5),
    Part("token_rows", 0.5),
    Part("memory", 2.5),
)
SCRIPTS = tuple(dict.fromkeys(part.script for part in ON_A_GPU))


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks.")
    parser.add_argument("--gpu", action="store_true", help="the GPU part alone")
    parser.add_argument("--out", type=Path, help="folder for a table of each script")
    parser.add_argument("--minutes", type=float, default=25.0, help="for the GPU part")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these scripts")
    parser.add_argument("--tiny", action="store_true", help="the GPU part at a tiny size, on any machine")
    options = parser.parse_args()
    known = SCRIPTS if options.gpu else sorted(script.stem for script in FOLDER.glob("[!_]*.py"))
    wrong = sorted(set(options.only or ()) - set(known))
    if wrong:
        return _refuse(f"expected names of {', '.join(known)} at --only, got {wrong[0]!r}; fix: take these")
    if options.gpu and not options.tiny and not _has_cuda():
        return _refuse("expected CUDA for --gpu, got a machine without it; fix: python -m benchmarks")
    failed = []
    if not options.gpu:
        failed += on_the_cpu(options.only or [name for name in known if name not in STUDIES], options.out)
    if options.gpu or _has_cuda():
        parts = [part for part in ON_A_GPU if options.only is None or part.script in options.only]
        out = options.out if options.gpu or options.out is None else options.out / "gpu"
        failed += on_a_gpu(parts, out, options.minutes * 60, options.tiny)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def on_the_cpu(names: Sequence[str], out: Path | None) -> list[str]:
    """Run the CPU part of scripts; gives the names of those that failed."""
    results = {}
    for name in names:
        arguments = ["--device", "cpu"] if name in SCRIPTS else []
        results[name] = run(name, [str(FOLDER / f"{name}.py"), *arguments], out, None)
    return _summed_up(results, out)


def on_a_gpu(parts: Iterable[Part], out: Path | None, seconds: float, tiny: bool) -> list[str]:
    """Run the GPU part of scripts within the time; gives the names of those that failed."""
    results = {}
    left = [part for part in (once(parts) if tiny else parts) if _can_run(part)]
    end = time.monotonic() + seconds
    while left:
        share = left[0].minutes / sum(part.minutes for part in left)
        part = left.pop(0)
        results[part.name] = run(
            part.name, _command(part, tiny), out, share * max(0.0, end - time.monotonic())
        )
    return _summed_up(results, out)


def once(parts: Iterable[Part]) -> list[Part]:
    """Each script once, with the models that it takes itself."""
    return list({part.script: Part(part.script, part.minutes) for part in parts}.values())


def _can_run(part: Part) -> bool:
    if part.script == "tests" and importlib.util.find_spec("pytest") is None:
        print("the tests of attention are left out: pytest is not installed", flush=True)
        return False
    return True


def _command(part: Part, tiny: bool) -> list[str]:
    """Arguments for Python."""
    if part.script == "tests":
        return ["-m", "pytest", "-q", "-x", "-m", "not slow", str(FOLDER.parent / "tests" / "attention")]
    script = str(FOLDER / f"{part.script}.py")
    if tiny:
        return [script, "--tiny"]
    return [script, "--device", "cuda", *(["--models", part.models] if part.models else [])]


def run(name: str, command: Sequence[str], out: Path | None, seconds: float | None) -> str:
    """Run Python, its output on the terminal and in a file; gives "" or what went wrong."""
    print(f"\n## {name}", flush=True)
    started = time.monotonic()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    target = Path(os.devnull) if out is None else out / f"{name}.md"
    with tempfile.TemporaryFile("w+") as errors, target.open("w", encoding="utf-8") as table:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        cut = threading.Event()
        timer = threading.Timer(seconds or 0, _cut, (process, cut))
        if seconds is not None:
            timer.start()
        for line in process.stdout or ():
            print(line, end="", flush=True)
            table.write(line)
            table.flush()
        code = process.wait()
        timer.cancel()
        errors.seek(0)
        said = errors.read().strip().splitlines()[-12:]
    print(f"\n{name}: {time.monotonic() - started:.0f} s", flush=True)
    if cut.is_set():
        return f"cut off after its {(seconds or 0) / 60:.1f} minutes"
    return "" if code == 0 else "\n".join([f"exit code {code}", *said])


def _cut(process: subprocess.Popen[str], cut: threading.Event) -> None:
    """End a script and what it started."""
    cut.set()
    os.killpg(process.pid, signal.SIGKILL)


def _summed_up(results: dict[str, str], out: Path | None) -> list[str]:
    """Say what came of each, also in a file; gives those that failed."""
    lines = [f"- {name}: {result or 'done'}" for name, result in results.items()]
    print("\n" + "\n".join(lines), flush=True)
    if out is not None:
        (out / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [name for name, result in results.items() if result]


if __name__ == "__main__":
    sys.exit(main())
