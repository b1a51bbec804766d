"""The model class and the launcher for VLMEvalKit, against a stand-in of its interface: it is on no index."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import latentvr
from latentvr.data.toy import Toy
from latentvr.errors import UserError
from latentvr.integrations import vlmevalkit
from latentvr.integrations.tsv import write_tsv

STAND_IN = Path(__file__).with_name("vlmevalkit_stand_in.py")


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-in on the import path, and its folder for data."""
    if importlib.util.find_spec("vlmeval"):
        pytest.skip("the real VLMEvalKit is installed")
    runpy.run_path(str(STAND_IN))["write"](tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LMUData", str(tmp_path))
    vlmevalkit.model_class.cache_clear()
    yield tmp_path
    vlmevalkit.model_class.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "vlmeval"]:
        del sys.modules[name]


@pytest.fixture
def data(kit: Path) -> Toy:
    """Questions with two and three images, as the data set `Own`."""
    source = Toy(("jigsaw", "correspondence"), "test", 2, seed=3)
    write_tsv(source, kit / "Own.tsv")
    return source


def test_every_image_reaches_the_model_in_its_place(lab: Any, kit: Path, span_checkpoint: Path) -> None:
    """The answer is that of the Python interface to the same images and text."""
    assistant = latentvr.load(span_checkpoint, "cpu")
    model = vlmevalkit.model_class()(str(span_checkpoint), device="cpu")
    answers = []
    for name in ("two images", "three images"):
        record = lab.records[name]
        message = []
        for i, image in enumerate(lab.images(record)):
            image.save(kit / f"{name}{i}.png")
            message.append({"type": "image", "value": str(kit / f"{name}{i}.png")})
        message.insert(1, {"type": "text", "value": "between"})
        message.append({"type": "text", "value": record.prompt})
        prompt = "<image>between" + "<image>" * (len(record.images) - 1) + record.prompt
        answers.append(assistant.generate(prompt, lab.images(record)).answer)
        assert model.generate(message, "Own") == answers[-1]
    assert any(answers)


@pytest.mark.usefixtures("kit")
def test_it_is_registered_for_vlmevalkits_own_scripts() -> None:
    vlmevalkit.register("ours", "tiny-qwen2.5-vl", device="cpu", dtype="float32")
    made = importlib.import_module("vlmeval.config").supported_VLM["ours"]()
    assert isinstance(made, importlib.import_module("vlmeval.vlm").LatentVR)
    assert isinstance(made, importlib.import_module("vlmeval.vlm.base").BaseModel)


def test_the_launcher_answers_and_scores(
    data: Toy, kit: Path, span_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--model",
        str(span_checkpoint),
        "--data",
        "Own",
        "--work-dir",
        str(kit / "work"),
        "device=cpu",
    ]
    assert vlmevalkit.main(arguments) == 0
    assert capsys.readouterr().out.startswith("Own\n{'judge': 'exact_matching', 'Overall': ")
    (file,) = (kit / "work").iterdir()
    assert len(json.loads(file.read_text())) == len(data.records)
    # Another setting is another run: its answers are not those that lie there.
    assert vlmevalkit.main([*arguments, "latent_steps=4"]) == 0
    assert len(list((kit / "work").iterdir())) == 2


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--data": "Nothing"}, "error: expected data sets of VLMEvalKit, got Nothing, at --data; fix: "),
        ({"--model": str(Path(__file__).parent)}, "error: expected "),
        ({"": "max_pixels"}, "error: expected key=value, got 'max_pixels'"),
        ({"": "max_pixel=3"}, "got 'max_pixel', at LatentVR(...)"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(
    kit: Path, change: dict[str, str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"--model": "tiny-qwen2.5-vl", "--data": "Own", "--work-dir": str(kit / "work"), **change}
    arguments = [text for key, value in values.items() for text in (key, value) if text]
    assert vlmevalkit.main(arguments) == 2
    found = capsys.readouterr().err
    assert sentence in found
    assert found.count("\n") == 1


def test_without_vlmevalkit_one_sentence_says_what_to_install() -> None:
    if importlib.util.find_spec("vlmeval"):
        pytest.skip("VLMEvalKit is installed")
    vlmevalkit.model_class.cache_clear()
    with pytest.raises(UserError, match=r"expected VLMEvalKit, got no module 'vlmeval'.*fix: install"):
        vlmevalkit.model_class()


def test_the_module_is_a_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "latentvr.integrations.vlmevalkit", "--help"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--work-dir" in done.stdout
