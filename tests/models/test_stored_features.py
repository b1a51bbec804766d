"""Features on disk: each picture goes through the tower once, whoever asks for it and however often.

Calls of the real tower are counted. Breaks when: a key leaves out pixels, weights or settings, a repeated
picture is encoded again, an interrupted pass begins anew, or a damaged file is taken for whole.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from latentvr.data.dataset import EncodedDataset
from latentvr.data.encode import EncodedSample
from latentvr.data.record import Record
from latentvr.errors import SaveError, UserError
from latentvr.evaluation.prompts import encoder_for
from latentvr.models.feature_store import DamagedFeatures, FeatureStore, tower_digest
from latentvr.models.features import cache_features
from latentvr.models.stored_features import StoredFeatures, store_features


class Records:
    """Records of the lab, opened images counted."""

    def __init__(self, lab: Any, records: Sequence[Record]) -> None:
        self.lab = lab
        self.records = records
        self.opened = 0

    def images(self, record: Record) -> list[Image.Image]:
        self.opened += 1
        images: list[Image.Image] = self.lab.images(record)
        return images

    def where(self, record: Record) -> str:
        return record.id


class Tower:
    """Counts the pictures that go through a model's vision tower."""

    def __init__(self, model: Any) -> None:
        self.pictures = 0
        model.backbone.vision_tower.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        del module
        self.pictures += len(named["grid_thw"] if "grid_thw" in named else args[1])


def _stored(model: Any, source: Any, folder: Path, **options: Any) -> StoredFeatures:
    return store_features(model, source, encoder_for(model), folder, **options)


def _repeated(lab: Any) -> list[Record]:
    """Seven different pictures in five records: "interleaved" shows pictures of two others."""
    records = list(lab.records.values())
    return [*records, replace(records[0], id="again", prompt="what is this ?")]


def test_each_picture_is_encoded_once_over_epochs_and_runs(lab: Any, family: str, tmp_path: Path) -> None:
    records = _repeated(lab)
    different = {image.tobytes() for record in records for image in lab.images(record)}
    assert len(different) < sum(len(record.images) for record in records)
    for run in range(2):
        model = lab.model(family)
        tower, source = Tower(model), Records(lab, records)
        known = _stored(model, source, tmp_path)
        looked = source.opened
        data = EncodedDataset(source, encoder_for(model), known=known)
        for _ in range(3):
            assert [data[i].id for i in range(len(data))] == [record.id for record in records]
        assert tower.pictures == known.encoded == (0 if run else len(different))
        assert source.opened == looked  # later epochs open no image


@torch.no_grad()
@pytest.mark.parametrize("options", [{"hide_region": True}, {"target": "crop"}, {}], ids=str)
def test_samples_are_those_of_memory(lab: Any, options: dict[str, Any], tmp_path: Path) -> None:
    """Prompts with parts painted over, and references beside them, have their own features."""
    model = lab.model("tiny-qwen3-vl", "lvr", **options)
    records = list(lab.records.values())
    samples = lab.encode(model, records)
    cache_features(model, samples)
    known = _stored(model, Records(lab, records), tmp_path)
    found = EncodedDataset(Records(lab, records), encoder_for(model), known=known)
    for place, wanted in enumerate(samples):
        _same(found[place], wanted)


def _same(found: EncodedSample, wanted: EncodedSample) -> None:
    for name, value in vars(wanted).items():
        other = getattr(found, name)
        if isinstance(value, torch.Tensor):
            assert other.dtype == value.dtype
            assert torch.allclose(other, value, atol=1e-5), name
        else:
            assert other == value, name


def test_an_interrupted_pass_goes_on(lab: Any, tmp_path: Path) -> None:
    records = list(lab.records.values())
    model = lab.model("tiny-qwen2.5-vl")
    before = _stored(model, Records(lab, records[:2]), tmp_path).encoded
    tower = Tower(model)
    whole = _stored(model, Records(lab, records), tmp_path / "other").encoded
    assert _stored(model, Records(lab, records), tmp_path).encoded == whole - before > 0
    assert tower.pictures == 2 * whole - before
    files = {file.name: file.read_bytes() for file in tmp_path.glob("[!o]*/*/*.safetensors")}
    others = {file.name: file.read_bytes() for file in (tmp_path / "other").rglob("*.safetensors")}
    assert files == others  # bit by bit those of a pass in one go


def test_other_pixels_weights_settings_and_formats_have_other_names(lab: Any, tmp_path: Path) -> None:
    model = lab.model("tiny-qwen2.5-vl")
    picture = lab.images(lab.records["one image"])[0]

    def name(image: Image.Image = picture) -> str:
        digest = tower_digest(model.backbone, model.processor)
        return FeatureStore(tmp_path, digest, 2, 32, torch.float32).name(image)

    first = name()
    assert name() == first == name(picture.copy())
    dotted = picture.copy()
    dotted.putpixel((0, 0), tuple(255 - value for value in dotted.getpixel((0, 0))))
    names = [first, name(dotted), name(picture.transpose(Image.Transpose.ROTATE_90))]
    model.processor.set_pixels(None, 4096)
    names.append(name())
    next(model.backbone.vision_tower.parameters()).data[0] += 1e-3
    names.append(name())
    model.backbone.vision_tower.to(torch.bfloat16)
    names.append(name())
    assert len(set(names)) == 6


def test_half_precision_stays_half(lab: Any, tmp_path: Path) -> None:
    model = lab.model("tiny-qwen3-vl").to(torch.bfloat16)
    source = Records(lab, [lab.records["two images"]])
    known = _stored(model, source, tmp_path)
    features, beside = known.features(0)
    assert features is not None
    assert features.dtype == torch.bfloat16
    assert beside is None


def _damaged(whole: bytes, damage: str) -> bytes:
    return {"cut": whole[:-7], "other": b"no features at all", "flipped": whole[:-9] + b"\1" + whole[-8:]}[
        damage
    ]


@pytest.mark.parametrize("damage", ["cut", "other", "flipped"])
def test_damaged_files_are_named_and_encoded_again(
    damage: str, lab: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = lab.model("tiny-qwen2.5-vl")
    source = Records(lab, [lab.records["one image"]])
    known = _stored(model, source, tmp_path)
    file = next(tmp_path.rglob("*.safetensors"))
    whole = file.read_bytes()
    file.write_bytes(_damaged(whole, damage))
    with pytest.raises(
        DamagedFeatures, match=f"^expected the stored features of an image, got .*{file.name}"
    ):
        known.features(0)
    caplog.set_level(logging.WARNING)
    assert _stored(model, source, tmp_path).encoded == 1
    assert str(file) in caplog.text
    assert "the image is encoded again" in caplog.text
    assert "start again" not in caplog.text  # nobody has to do anything
    assert file.read_bytes() == whole


def test_loader_processes_read_and_write_the_same(lab: Any, tmp_path: Path) -> None:
    records = list(lab.records.values())
    model = lab.model("tiny-qwen2.5-vl")
    alone = _stored(model, Records(lab, records), tmp_path / "0")
    helped = _stored(model, Records(lab, records), tmp_path / "2", workers=2)
    assert (helped.names, helped.encoded) == (alone.names, alone.encoded)
    for place in range(len(records)):
        assert torch.equal(helped.features(place)[0], alone.features(place)[0])  # type: ignore[arg-type]


def test_features_of_another_width_or_format_are_not_taken(lab: Any, tmp_path: Path) -> None:
    model = lab.model("tiny-qwen2.5-vl")
    known = _stored(model, Records(lab, [lab.records["one image"]]), tmp_path)
    (name,), store = known.known, known.store
    width, grid = store.width, torch.tensor(known.known[name])
    for features in (store.read(name)[..., :-1], store.read(name).half()):
        store.write(name, features.clone(), grid)
        with pytest.raises(DamagedFeatures, match="expected the stored features of an image, got shapes"):
            store.read(name)
    store.write(name, torch.zeros(1, int(grid.prod()) // 4, width), grid)
    assert not store.read(name).any()


def test_no_tensor_comes_from_the_processes_that_look_at_records(lab: Any, tmp_path: Path) -> None:
    # Breaks if grids are tensors again: each holds a file descriptor of its loader process, to the end.
    model = lab.model("tiny-qwen2.5-vl")
    source = Records(lab, list(lab.records.values()))
    _stored(model, source, tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    known = _stored(model, source, tmp_path, workers=1)
    assert known.encoded == 0
    assert len(known.known) > 4
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert {type(number) for grid in known.known.values() for number in grid} == {int}


def test_a_folder_that_goes_through_a_file_is_refused_at_once(lab: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model, source = lab.model("tiny-qwen2.5-vl"), Records(lab, [lab.records["one image"]])
    with pytest.raises(
        UserError, match=r"^expected a folder that can be written, got: .*; fix: set data\.fea"
    ) as e:
        _stored(model, source, tmp_path / "file" / "features")
    assert f"data.feature_cache_dir={str(tmp_path / 'file' / 'features')!r}" in str(e.value)
    assert source.opened == 0
    store = FeatureStore(tmp_path / "file", "0" * 64, 2, 4, torch.float32)
    with pytest.raises(SaveError, match=r"^expected to write features of images, got: "):
        store.write("0" * 64, torch.zeros(1, 1, 4), torch.tensor([1, 2, 2]))


def _on_two_ranks(folder: Path, features: Sequence[Path]) -> list[str]:
    """Run the script as two processes; the error texts."""
    root = Path(__file__).parents[2]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    script = str(Path(__file__).with_name("stored_on_ranks.py"))
    commands = [[sys.executable, script, str(rank), str(folder), str(features[rank])] for rank in (0, 1)]
    started = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True, env=env) for c in commands]
    return [process.communicate(timeout=240)[1] for process in started]


@pytest.mark.slow
def test_processes_share_the_work(tmp_path: Path) -> None:
    features = tmp_path / "features"
    _on_two_ranks(tmp_path, [features, features])
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0] == found[1]
    assert len(set(found[0]["sums"])) == 6  # three counting records come twice
    assert len(list(features.rglob("*.safetensors"))) == found[0]["encoded"] == 12
    assert list(features.rglob("*.partial")) == []


@pytest.mark.slow
def test_processes_with_folders_of_their_own_are_told(tmp_path: Path) -> None:
    errors = _on_two_ranks(tmp_path, [tmp_path / "one", tmp_path / "two"])
    assert all("expected the features that other processes found or wrote, got no " in e for e in errors)


@pytest.mark.slow
def test_a_mistake_of_one_process_is_told_by_all(tmp_path: Path) -> None:
    # Breaks if the others wait for it until their connection is closed.
    (tmp_path / "file").write_text("")
    errors = _on_two_ranks(tmp_path, [tmp_path / "one", tmp_path / "file" / "two"])
    told = [text.strip().splitlines()[-1].partition("]: ")[2] for text in errors]  # [rank0]: ...
    assert told[0] == told[1]
    assert "expected a folder that can be written, got: " in told[0]
