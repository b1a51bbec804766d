"""The cases of the contract: every registered method, with several sets of options, on every family.

`make test` runs a method's first set of options on every family and each further set on one family, in turn;
`make test-slow` runs all the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from latentvr.reasoners import registry

FAMILIES = ("tiny-qwen2.5-vl", "tiny-qwen3-vl", "tiny-llava-ov-1.5")
# A method that is not listed here runs the contract with its default options.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "livr": {
        "K4": {"latents": 4, "init_std": 1.0},
        "shared": {"latents": 4, "shared": True, "init_std": 1.0},
        "before": {"latents": 4, "place": "before", "init_std": 1.0},
        "image_twice": {"image_twice": True},
        "K0": {"latents": 0},
    },
    "lvr": {
        "B": {},
        "A": {"layout": "A", "slot_inputs": "own"},
        "end_vector": {"layout": "A", "end_vector": True},
        "mlp": {"head": "mlp", "switch_loss": True},
        "glu": {"head": "glu", "pool": 3},
        "crop": {"target": "crop"},
        "hidden": {"hide_region": True, "loss": "cosine"},
    },
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


def is_main(case: Case) -> bool:
    """Whether this is the first set of options of its method: it alone runs in every variant."""
    return case.label == next(iter(OPTIONS.get(case.name, {"defaults": {}})))


def can_train(case: Case, kind: str) -> bool:
    """Whether a kind is tried: rows where the method has them, whole weights for the main options alone."""
    if kind == "tokens":
        return case.name != "direct" and case.label not in ("K0", "image_twice", "A", "glu", "crop", "hidden")
    return kind == "lora" or is_main(case)


KINDS = [(c, kind) for c in CASES for kind in ("lora", "language", "all", "tokens") if can_train(c, kind)]
# What a kernel does is a matter of roles, which other options of a method only place elsewhere.
WITH_KERNELS = [(c, kernel) for c in CASES for kernel in ("mask", "two_pass", "varlen")
                if kernel == "mask" or is_main(c)]  # fmt: skip


def in_turn(case: Case) -> bool:
    """Whether the fast tests run this case."""
    options = list(OPTIONS.get(case.name, {"defaults": {}}))
    return is_main(case) or case.family == FAMILIES[options.index(case.label) % len(FAMILIES)]


def params(cases: Sequence[Any]) -> list[Any]:
    """Cases, alone or with something beside them, as parameters of which the exhaustive ones are slow."""
    out = []
    for entry in cases:
        case, *rest = entry if isinstance(entry, tuple) else (entry,)
        name = "/".join([str(case), *rest])
        # A kernel asks nothing of a family: with the last one the fast tests run the reference alone.
        fast = in_turn(case) and (case.family != FAMILIES[-1] or not {*rest} & {"two_pass", "varlen"})
        out.append(pytest.param(entry, id=name, marks=[] if fast else pytest.mark.slow))
    return out


@pytest.fixture(params=params(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def has_latents(case: Case) -> bool:
    """Whether samples of the case have latents."""
    return case.name != "direct" and case.label != "K0"


@pytest.fixture(scope="module", params=params(CASES))
def mask_model(request: pytest.FixtureRequest, lab: Any) -> Any:
    """A frozen model of each case, made once for the tests of a file that leave it as it is."""
    return request.param.model(lab)


@pytest.fixture(scope="module", params=params(WITH_KERNELS))
def shared_model(request: pytest.FixtureRequest, lab: Any) -> Any:
    """The same with each kernel."""
    case, kernel = request.param
    return case.model(lab, kernel)


@pytest.fixture(
    scope="module",
    params=params([(c, kernel) for c in CASES for kernel in ("varlen", "mask")
                   if kernel == "varlen" or (is_main(c) and c.family == FAMILIES[1])]),
)  # fmt: skip
def packing_model(request: pytest.FixtureRequest, lab: Any) -> Any:
    """A model of each case with the kernels that take several documents in a row; everything trains."""
    from latentvr.models.trainable import set_trainable

    case, kernel = request.param
    model = case.model(lab, kernel)
    set_trainable(model, "all", lab.settings(case.family).lora)
    return model


@pytest.fixture(
    scope="module",
    params=params([pair for pair in WITH_KERNELS if has_latents(pair[0])]),
)
def shared_latent_model(request: pytest.FixtureRequest, lab: Any) -> Any:
    """One of these whose samples have latents."""
    case, kernel = request.param
    return case.model(lab, kernel)


def decodes_as_another(case: Case) -> bool:
    """Whether the options of a case concern training alone, so that another case decodes the same way."""
    return case.name == "lvr" and case.label in ("crop", "hidden")


@pytest.fixture(scope="module", params=params(CASES))
def span_model(request: pytest.FixtureRequest, lab: Any) -> Any:
    """A model that opens latent spans, with a head of its own, which tests may give other rows."""
    case = request.param
    if not registry.config_class(case.name).opens_spans:
        pytest.skip("the method opens no spans")
    if decodes_as_another(case):
        pytest.skip("its options concern training alone")
    return lab.model(case.family, case.name, untied=True, **case.options)


@pytest.fixture(params=params(KINDS))
def case_and_kind(request: pytest.FixtureRequest) -> tuple[Case, str]:
    """A case and something of it that can train."""
    found: tuple[Case, str] = request.param
    return found
