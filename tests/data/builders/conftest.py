"""Miniatures of data sets: `make("coco")` gives the module `make_coco.py`, whose `write(root)` makes one."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def make() -> Callable[[str], ModuleType]:
    def loaded(name: str) -> ModuleType:
        file = Path(__file__).with_name(f"make_{name}.py")
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return loaded
