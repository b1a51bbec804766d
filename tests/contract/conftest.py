"""The cases of the contract: every registered method, with several sets of options, on every family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from latentvr.reasoners import registry

FAMILIES = ("tiny-qwen2.5-vl", "tiny-qwen3-vl")
# A method that is not listed here runs the contract with its default options.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "livr": {
        "K4": {"latents": 4, "init_std": 1.0},
        "shared": {"latents": 4, "shared": True, "init_std": 1.0},
        "before": {"latents": 4, "place": "before", "init_std": 1.0},
        "image_twice": {"image_twice": True},
        "K0": {"latents": 0},
    }
}


@dataclass(frozen=True)
class Case:
    """One method with one set of options on one family."""

    family: str
    name: str
    label: str
    options: dict[str, Any] = field(hash=False)

    def __str__(self) -> str:
        return f"{self.family}/{self.name}/{self.label}"

    def model(self, lab: Any, kernel: str = "mask") -> Any:
        """Build the model of this case."""
        return lab.model(self.family, self.name, kernel, **self.options)


CASES = [
    Case(family, name, label, options)
    for family in FAMILIES
    for name in registry.names()
    for label, options in OPTIONS.get(name, {"defaults": {}}).items()
]


KINDS = [
    (case, kind)
    for case in CASES
    for kind in ("lora", "language", "tokens")
    if kind != "tokens" or (case.name != "direct" and case.label not in ("K0", "image_twice"))
]


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(params=[c for c in CASES if c.name != "direct" and c.label != "K0"], ids=str)
def latent_case(request: pytest.FixtureRequest) -> Case:
    """A case whose samples have latents."""
    found: Case = request.param
    return found


@pytest.fixture(params=KINDS, ids=lambda pair: f"{pair[0]}/{pair[1]}")
def case_and_kind(request: pytest.FixtureRequest) -> tuple[Case, str]:
    """A case and something of it that can train."""
    found: tuple[Case, str] = request.param
    return found
