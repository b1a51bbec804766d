"""Methods say of a model folder whether it is a published checkpoint of theirs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from latentvr.errors import CheckpointError
from latentvr.reasoners import registry
from latentvr.reasoners.published import PublishedFolder, StoredTensor

CLAIMS = """\
from latentvr.config.schema import ReasonerConfig as Config, StageConfig
from latentvr.reasoners.published import Recognised

def default_stages():
    return {"only": StageConfig()}

def recognise(folder):
    return Recognised(Config(name="thoughts"), (), {}, (), "all") if "lvr_id" in folder.config else None
"""


def never() -> Mapping[str, StoredTensor]:
    raise AssertionError("the weights of a plain model were opened")


def test_a_plain_config_is_no_checkpoint_and_its_weights_stay_closed() -> None:
    config = {"model_type": "qwen2_5_vl", "hidden_size": 8, "lvr_id": None}
    assert registry.recognised(PublishedFolder("here", config, never)) is None


@pytest.mark.parametrize("nested", [False, True])
def test_the_width_is_read_from_either_form_of_config(nested: bool) -> None:
    size = {"hidden_size": 8}
    config = {"lvr_id": 3, "latent_end_token": True, **({"text_config": size} if nested else size)}
    stored = {"lvr_latent_end_emb": StoredTensor("f", (8,)), "model.norm.weight": StoredTensor("f", (8,))}
    found = registry.recognised(PublishedFolder("here", config, lambda: stored))
    assert found is not None
    assert found.tensors == ("lvr_latent_end_emb",)
    assert found.token_ids["<|lvr|>"] == 3


def test_a_folder_that_two_methods_claim_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "thoughts_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thoughts-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[latentvr.reasoners]\nthoughts = claiming_thoughts\n")
    (tmp_path / "claiming_thoughts.py").write_text(CLAIMS)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = PublishedFolder("here", {"lvr_id": 3, "hidden_size": 8}, dict)
    with pytest.raises(CheckpointError, match="got one of lvr and thoughts, at 'here'; fix: uninstall"):
        registry.recognised(folder)


def test_recognising_needs_no_torch() -> None:
    code = (
        "import sys; from latentvr.reasoners import registry as r\n"
        "from latentvr.reasoners.published import PublishedFolder as F\n"
        "assert r.recognised(F('x', {'lvr_id': 3, 'hidden_size': 8}, dict)).note.startswith('layout A')\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("inner", "option"), [(24, None), (5, 5)])
def test_the_inner_width_is_that_of_the_tensors(inner: int, option: int | None) -> None:
    # Breaks if a checkpoint of the default width could not be trained on by a recipe that leaves it out.
    layers = {"gate_proj": (inner, 8), "up_proj": (inner, 8), "down_proj": (8, inner)}
    shapes = {f"model.lvr_head.{n}.weight": s for n, s in layers.items()}
    shapes |= {f"model.lvr_head.{n}.bias": s[:1] for n, s in layers.items()}
    stored = {name: StoredTensor("f", shape) for name, shape in shapes.items()}
    config = {"lvr_id": 3, "hidden_size": 8, "lvr_head": True, "lvr_head_type": "glu"}
    found = registry.recognised(PublishedFolder("here", config, lambda: stored))
    assert found is not None
    assert getattr(found.reasoner, "head_width") == option  # noqa: B009 - a field of the method's own class
    assert set(found.tensors) == set(shapes)
