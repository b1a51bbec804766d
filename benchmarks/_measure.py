"""What every benchmark needs: the machine in a line, a clock, turns, memory, limits of the card, a table."""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import transformers

from latentvr.models.device import choose_device

Calls = Mapping[str, Callable[[], object]]
#: Dense products per second in half precision that makers state, by a part of the card's name.
STATED = {
    "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "GH200": 989e12, "A100": 312e12, "L40S": 362e12,
    "RTX 4090": 165e12, "A10G": 70e12,
}  # fmt: skip


def arguments(doc: str | None, repeats: int) -> argparse.ArgumentParser:
    """A parser with what all scripts take that run on either device."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--threads", type=int, default=1, help="threads of a CPU")
    parser.add_argument(
        "--tiny", action="store_true", help="the GPU part at a size that shows only that it runs"
    )
    return parser


def begin(options: argparse.Namespace) -> str:
    """Set threads and seed; gives the device."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return choose_device(options.device)


def machine(device: str, dtype: torch.dtype = torch.float32) -> str:
    """Machine, number format and versions in a line."""
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        where = f"{torch.cuda.get_device_name()}, {free >> 30} of {total >> 30} GiB free, CUDA events"
    else:
        cpu = _cpu_name()
        where = f"{cpu}, {torch.get_num_threads()} thread(s), processor time"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return f"{where}, {str(dtype).removeprefix('torch.')}, {versions}, Python {platform.python_version()}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    found = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return found or platform.processor() or platform.machine()


def seconds(call: Callable[[], object], device: str) -> float:
    """Duration of a call: processor time, or what the GPU took between two events."""
    if device == "cpu":
        started = time.process_time()
        call()
        return time.process_time() - started
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    call()
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last)) / 1000


def turns(calls: Calls, repeats: int, device: str, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of every call, taking turns, so that a slow minute of the machine hits all of them."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + warm):
        for name, call in calls.items():
            found = seconds(call, device)
            if turn >= warm:
                taken[name].append(found)
    return taken


def medians(taken: Mapping[str, list[float]]) -> dict[str, float]:
    """Median of each."""
    return {name: statistics.median(found) for name, found in taken.items()}


def ratios(taken: Mapping[str, list[float]], to: str) -> dict[str, float]:
    """Median over turns of the ratio within a turn."""
    return {
        name: statistics.median(a / b for a, b in zip(found, taken[to], strict=True))
        for name, found in taken.items()
    }


def reset_peak(device: str) -> None:
    """Begin to watch for the peak of memory."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_gib(device: str) -> float:
    """Peak of memory in GiB: of tensors on the GPU, or of what is resident."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmHWM")), float("nan"))


def product_rate(device: str, dtype: torch.dtype, side: int) -> tuple[float, str]:
    """Floating-point operations per second that the card can do, and where the number comes from."""
    if device == "cuda" and dtype != torch.float32:
        name = torch.cuda.get_device_name()
        stated = next((rate for part, rate in STATED.items() if part in name), None)
        if stated is not None:
            return stated, f"{stated / 1e12:.0f} TFLOP/s, dense, as the maker of the {name} states"
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    took = min(turns({"product": lambda: a @ b}, 5, device)["product"])
    rate = 2 * side**3 / took
    return rate, f"{rate / 1e12:.3g} TFLOP/s, measured in a product of two {side} x {side} matrices"


def bandwidth(device: str, megabytes: int) -> float:
    """Bytes per second of a copy within memory, what is read and what is written."""
    here = torch.empty(megabytes << 20, dtype=torch.uint8, device=device)
    there = torch.empty_like(here)
    took = min(turns({"copy": lambda: there.copy_(here)}, 5, device)["copy"])
    return 2 * here.numel() / took


def header(words: Sequence[str], numbers: Sequence[str]) -> None:
    """Begin a table of Markdown: columns of words, then of numbers."""
    print(
        f"\n| {' | '.join([*words, *numbers])} |\n|{'---|' * len(words)}{'--:|' * len(numbers)}", flush=True
    )


def line(*cells: object) -> None:
    """A row of the table."""
    print(f"| {' | '.join(_cell(cell) for cell in cells)} |", flush=True)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if value != value:  # not measured
        return "-"
    if value == 0:
        return "0"
    return (
        f"{value:.3f}"
        if 0.01 <= abs(value) < 1000
        else f"{value:.0f}"
        if abs(value) >= 1000
        else f"{value:.2g}"
    )
