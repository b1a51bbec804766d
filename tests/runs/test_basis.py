"""`latentvr data basis`: the PCA of visual embeddings, and the head that is made of it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from sklearn.decomposition import PCA

from latentvr.cli.main import app, guarded
from latentvr.config.load import load
from latentvr.data.regions import region_tokens
from latentvr.errors import ModelError
from latentvr.models.load import load_stock
from latentvr.runs import basis
from latentvr.runs.basis import Moments, write_basis
from latentvr.runs.inference import load as load_assistant
from latentvr.runs.sft import train
from latentvr.runs.sources import open_split

SMALL = (
    "reasoner.name=lvr", "model.path=tiny-qwen2.5-vl", "model.dtype=float32", "train.device=cpu",
    "data.source=toy", "data.tasks=[correspondence, counting]", "data.toy.train=6", "data.toy.validation=2",
    "stages.sft.steps=2", "train.keep=last",
)  # fmt: skip
K = 5


def embeddings(recipe: Any, regions: bool) -> np.ndarray:
    """All visual embeddings, one image at a time, by the stock model alone."""
    stock, processor = load_stock(recipe.model)
    source = open_split(recipe.data, "train")
    rows = []
    for record in source.records:
        for place, image in enumerate(source.images(record)):
            patches, grid = processor.encode_images([image])
            with torch.no_grad():
                features = stock.model.visual(patches, grid_thw=grid).pooler_output
            boxes = [box.box for box in record.bboxes if box.image == place]
            covered = sorted({token for box in boxes for token in region_tokens(box, grid[0])})
            rows.append(features[covered] if regions else features)
    return torch.cat(rows).double().numpy()


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("patches", [1, 1000, 1 << 15])
def test_it_is_the_pca_of_all_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, regions: bool, patches: int
) -> None:
    # Breaks if tokens are left out or counted twice, or the mean stays in, however the images are grouped.
    monkeypatch.setattr(basis, "PATCHES_AT_ONCE", patches)
    recipe = load(None, SMALL).recipe
    made = write_basis(recipe, K, tmp_path / "b.safetensors", regions)
    rows = embeddings(recipe, regions)
    wanted = PCA(K, svd_solver="full").fit(rows)
    assert made.tokens == len(rows)
    assert made.share == pytest.approx(wanted.explained_variance_ratio_.sum(), abs=1e-6)
    found = {name: value.double().numpy() for name, value in load_file(tmp_path / "b.safetensors").items()}
    np.testing.assert_allclose(found["mean"], wanted.mean_, atol=1e-5)
    aligned = np.abs(np.diag(wanted.components_ @ found["basis"]))
    np.testing.assert_allclose(aligned, 1, atol=1e-4)
    np.testing.assert_allclose(found["basis"].T @ found["basis"], np.eye(K), atol=1e-5)


def test_a_large_common_mean_costs_no_digits() -> None:
    rows = torch.randn(400, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moments = Moments(6)
    for part in (rows + 1e6).split(7):
        moments.add(part)
    torch.testing.assert_close(moments.scatter / 399, rows.T.cov(), rtol=1e-6, atol=1e-9)


def test_the_command_says_the_share_and_repeats_to_the_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("reasoner: {name: lvr}\n")
    files = [tmp_path / "new" / name for name in ("a.safetensors", "b.safetensors")]
    for file in files:
        asked = ["data", "basis", str(recipe), "--components", str(K), "--out", str(file), *SMALL[1:]]
        assert guarded(partial(app, args=asked, standalone_mode=False)) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    with safe_open(files[0], framework="pt") as stored:
        facts = json.loads(stored.metadata()["latentvr"])
    assert facts["model"] == "tiny-qwen2.5-vl"
    share = 100 * facts["explained_variance"]
    assert f"{K} of 128 components, {share:.1f} % of the variance of " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("components", "overrides", "regions", "message"),
    [
        (129, [], False, "expected at most 128 components, the model's width, got 129"),
        (60, ["data.toy.train=1", "data.tasks=[counting]"], False, "expected more than 60 visual tokens"),
        (60, ["data.tasks=[jigsaw]", "data.toy.train=1"], True, "with --regions; fix: "),
    ],
)
def test_what_cannot_be_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    components: int,
    overrides: list[str],
    regions: bool,
    message: str,
) -> None:
    recipe, out = tmp_path / "r.yaml", tmp_path / "b.safetensors"
    recipe.write_text("reasoner: {name: lvr}\n")
    asked = ["--components", str(components), "--out", str(out), *(["--regions"] if regions else [])]
    args = ["data", "basis", str(recipe), *asked, *SMALL[1:], *overrides]
    assert guarded(partial(app, args=args, standalone_mode=False)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "; fix: " in error
    assert not out.exists()


def test_a_file_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = tmp_path / "r.yaml", tmp_path / "b.safetensors"
    recipe.write_text("reasoner: {name: lvr}\n")
    out.write_text("kept")
    args = ["data", "basis", str(recipe), "--components", "2", "--out", str(out), *SMALL[1:]]
    assert guarded(partial(app, args=args, standalone_mode=False)) == 2
    assert "expected a new file, got one that exists" in capsys.readouterr().err
    assert out.read_text() == "kept"


def test_a_head_of_it_trains_and_stays_in_its_span(tmp_path: Path) -> None:
    # Breaks if the basis or the mean moves in training, or the head leaves them.
    file = tmp_path / "b.safetensors"
    asked = [*SMALL, "reasoner.head=pca", f"reasoner.pca_basis={file}", f"reasoner.pca_components={K}"]
    asked.append("optim.trainable=tokens")
    write_basis(load(None, asked).recipe, K, file)
    kept = train(load(None, [*asked, f"train.output_dir={tmp_path / 'run'}", "optim.learning_rate=0.1"]))
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["lvr"] > 0 for row in log if "lvr" in row)
    stored, start = load_file(file), load_assistant_start(asked)
    file.unlink()  # a checkpoint holds its own copy
    model = load_assistant(kept, "cpu").model
    head = model.extra["head"]
    assert torch.equal(head.basis, stored["basis"])
    assert torch.equal(head.mean, stored["mean"])
    assert not torch.equal(head.coordinates.weight, start)
    out = model.reasoner.latent_inputs(torch.randn(7, model.backbone.width)) - head.mean
    torch.testing.assert_close(out @ head.basis @ head.basis.T, out, rtol=1e-4, atol=1e-4)
    assert out.norm(dim=-1).min() > 0


def load_assistant_start(overrides: list[str]) -> torch.Tensor:
    """The weights that the head started with."""
    from latentvr.runs.sft import build_model

    weight: torch.Tensor = build_model(load(None, overrides).recipe).extra["head"].coordinates.weight
    return weight


def test_a_basis_of_another_size_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "b.safetensors"
    asked = [*SMALL, "reasoner.head=pca", f"reasoner.pca_basis={file}"]
    with pytest.raises(ModelError, match=r"expected a PCA basis at reasoner\.pca_basis, got .* fix: make it"):
        load_assistant_start(asked)
    write_basis(load(None, asked).recipe, K, file)
    with pytest.raises(ModelError, match=f"with 64 components .* got shapes .*, {K}"):
        load_assistant_start(asked)
