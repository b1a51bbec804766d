"""All benchmarks by name; each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from latentvr.config.suggest import close, sentence
from latentvr.errors import UserError
from latentvr.evaluation.benchmarks.benchmark import Benchmark

_CLASSES = {
    "blink": "Blink",
    "vstar": "Vstar",
    "mmvp": "Mmvp",
    "robospatial": "Robospatial",
    "sat": "Sat",
    "vsp": "Vsp",
    "pixmo_count": "PixmoCount",
    "hrbench": "HrBench",
}
#: Names of the benchmarks.
NAMES = tuple(_CLASSES)


def find(name: str) -> Benchmark:
    """Give a benchmark.

    Args:
        name: one of `NAMES`.

    Returns:
        The benchmark.

    Raises:
        UserError: there is none of this name.
    """
    if name not in _CLASSES:
        hint = sentence(close(name, NAMES))
        raise UserError(
            f"expected a benchmark of {', '.join(NAMES)}, got {name!a}, at the name of a benchmark; "
            f"fix: choose one of them{hint}"
        )
    module = import_module(f"latentvr.evaluation.benchmarks.{name}")
    made: Benchmark = getattr(module, _CLASSES[name])()
    return made
