"""Where features come from changes no loss, and a second run finds those of the first.

Breaks when: features of another picture or of other settings are read, the order of samples or the draws of a
run depend on the cache, or validation encodes its images again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latentvr.config.load import load
from latentvr.models.features import cache_features
from latentvr.runs.feature_cache import default_folder
from latentvr.runs.rl import build_prompts
from latentvr.runs.sft import Validation, build_model, build_model_and_data, stage_runs, train_stage
from latentvr.runs.sources import open_split, open_training
from latentvr.trainers.signals import StopRequest

SETTINGS = [
    "model.path=tiny-qwen3-vl", "model.dtype=float32", "data.source=toy", "data.tasks=[counting, jigsaw]",
    "data.toy.train=4", "data.toy.validation=2", "train.device=cpu", "train.batch_size=4",
    "train.gradient_accumulation=1", "optim.learning_rate=1e-3", "log.every=1", "eval.batch_size=2",
    "decode.max_new_tokens=6", "decode.latent_steps=2",
]  # fmt: skip
METHODS = {
    "livr": [
        "reasoner.name=livr", "reasoner.latents=4", "stages.bottleneck.epochs=1", "stages.causal.epochs=0",
    ],
    "lvr": ["reasoner.name=lvr", "reasoner.target=crop", "stages.sft.steps=2"],
}  # fmt: skip


def _losses(folder: Path, method: str, *overrides: str) -> list[float]:
    folder.mkdir()
    recipe = load(None, [*SETTINGS, *METHODS[method], *overrides]).recipe
    model, data = build_model_and_data(recipe)
    run: Any = stage_runs(recipe, len(data))[0]
    validation = Validation(model, open_split(recipe.data, "validation"), recipe)
    train_stage(model, recipe, run, folder, data, validation, StopRequest(), None)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_the_same_wherever_features_come_from(method: str, tmp_path: Path) -> None:
    disk = ["data.feature_cache=disk", f"data.feature_cache_dir={tmp_path / 'features'}"]
    off = _losses(tmp_path / "off", method)
    memory = _losses(tmp_path / "memory", method, "data.feature_cache=memory")
    first = _losses(tmp_path / "first", method, *disk)
    assert len(off) == 2
    assert off[0] != off[1]
    assert memory == pytest.approx(off, abs=1e-6)
    assert first == pytest.approx(off, abs=1e-6)
    assert _losses(tmp_path / "second", method, *disk) == first


def test_validation_and_prompts_of_reinforcement_find_their_images(tmp_path: Path) -> None:
    disk = ["data.feature_cache=disk", f"data.feature_cache_dir={tmp_path}"]
    recipe = load(None, [*SETTINGS, *METHODS["livr"], *disk]).recipe
    model, source = build_model(recipe), open_training(recipe.data)
    prompts = build_prompts(model, source, recipe)
    validation = Validation(model, source, recipe)
    used: list[str] = []
    model.backbone.vision_tower.register_forward_pre_hook(lambda *_: used.append("again"))
    again = build_prompts(model, source, recipe).samples(range(3))
    (window,) = validation.prompts.windows(batch_size=1)
    for place, sample in enumerate(again):
        assert sample.pixel_values is None
        assert sample.features is not None
        (other,) = prompts.samples([place])
        assert other.features is not None
        assert sample.features.equal(other.features)
        assert window[place][1].features.equal(sample.features)
    assert used == []
    samples = build_prompts(model, source, load(None, [*SETTINGS, *METHODS["livr"]]).recipe).samples([2])
    assert used
    cache_features(model, samples)
    assert samples[0].features.allclose(again[2].features, atol=1e-5)


def test_the_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/latentvr/features")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache/latentvr/features"
