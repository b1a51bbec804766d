"""Compiled parts give the losses and gradients of plain ones, under the same names, and stay out of decoding.

Breaks when: adapters or checkpointing are lost, a checkpoint gets other names, nothing is compiled, or
decoding compiles too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.loop import generate
from latentvr.errors import ModelError
from latentvr.models.compiled import compile_parts, require_compiler
from latentvr.models.trainable import set_trainable
from latentvr.models.weights import load_weights, save_weights
from latentvr.reasoners.base import Stage

pytestmark = pytest.mark.usefixtures("fresh_compiler")


@pytest.fixture(autouse=True)
def _fresh_counters() -> None:
    counters.clear()


def _gradients(model: Any, batch: Any, visibility: Any) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    terms = model(batch, Stage("s", visibility))
    loss = sum(term.weight * term.total for term in terms.values())
    loss.backward()
    return float(loss.detach()), {
        n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
    }


def _models(lab: Any, family: str, name: str, kernel: str, kind: str) -> list[Any]:
    out = []
    for _ in range(2):
        model = lab.model(family, name, kernel)
        torch.manual_seed(5)
        set_trainable(model, kind, lab.settings(family).lora)
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.1)
        out.append(model.train())
    return out


def _agree(lab: Any, models: list[Any], visibility: Any) -> None:
    """On batches of two lengths and sizes."""
    records = list(lab.records.values())
    plain, compiled = models
    for chosen in (records[:2], records[1:]):
        batch = lab.batch(plain, chosen)
        loss, gradients = _gradients(plain, batch, visibility)
        other, found = _gradients(compiled, batch, visibility)
        assert other == pytest.approx(loss, rel=1e-5)
        assert found.keys() == gradients.keys()
        for name, wanted in gradients.items():
            assert (found[name] - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max())), name
    assert counters["stats"]["unique_graphs"] > 0


@pytest.mark.parametrize(
    ("name", "kernel", "kind"), [("livr", "two_pass", "lora"), ("lvr", "varlen", "language")]
)
def test_traced_parts_are_plain_ones(lab: Any, name: str, kernel: str, kind: str) -> None:
    """Without a compiler behind it: what is traced, and what names and decoding see."""
    plain, traced = _models(lab, "tiny-qwen2.5-vl", name, kernel, kind)
    traced.backbone.model.gradient_checkpointing_enable({"use_reentrant": False})
    compile_parts(traced, backend="eager")
    _agree(lab, [plain, traced], BOTTLENECK if name == "livr" else CAUSAL)
    assert list(traced.state_dict()) == list(plain.state_dict())
    graphs = counters["stats"]["unique_graphs"]
    prompts = lab.collated(lab.prompts(traced, list(lab.records.values())[:2]))
    decode, stage = DecodeConfig(max_new_tokens=5, latent_steps=2), Stage("s", CAUSAL)
    wrote = [generate(model.eval(), prompts, stage, decode) for model in (plain, traced)]
    assert [row.ids for row in wrote[0]] == [row.ids for row in wrote[1]]
    assert counters["stats"]["unique_graphs"] == graphs


def test_a_checkpoint_of_compiled_parts_is_a_plain_one(lab: Any, tmp_path: Path) -> None:
    plain, traced = _models(lab, "tiny-qwen3-vl", "livr", "two_pass", "lora")
    compile_parts(traced, backend="eager")
    with torch.no_grad():
        for parameter in traced.parameters():
            if parameter.requires_grad:
                parameter += 0.01
    settings = lab.settings("tiny-qwen3-vl")
    save_weights(traced, tmp_path, settings)
    load_weights(plain, tmp_path)
    load_weights(traced, tmp_path)
    own = traced.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in plain.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "name", "kernel"), [("tiny-qwen2.5-vl", "livr", "two_pass"), ("tiny-qwen3-vl", "lvr", "mask")]
)
def test_compiled_parts_are_plain_ones(lab: Any, family: str, name: str, kernel: str) -> None:
    plain, compiled = _models(lab, family, name, kernel, "lora")
    compile_parts(compiled)
    _agree(lab, [plain, compiled], BOTTLENECK if name == "livr" else CAUSAL)


def test_without_a_compiler_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        ModelError, match=r"^expected no-such-compiler, which torch\.compile needs here, got none"
    ):
        require_compiler("cpu")
    monkeypatch.setenv("CXX", "true")
    require_compiler("cpu")
