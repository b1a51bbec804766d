"""Processor folders as the hub has them, read without torchvision."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from latentvr.data import toy
from latentvr.data.processor import load_processor
from latentvr.errors import ModelError
from latentvr.models import tiny

PICTURE = Image.new("RGB", (640, 480))
# Settings of the public preprocessor_config.json files: areas in pixels, under older and newer names.
QWEN2_5 = {
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}
QWEN3 = {
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "processor_class": "Qwen3VLProcessor",
}


def hub_folder(folder: Path, images: dict[str, Any], nested: bool = False) -> Path:
    """Write a processor as on the hub: chat template in JSON, tokenizer of a named class, video settings."""
    tiny.build_tokenizer(toy.corpus()).save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.update(tokenizer_class="Qwen2Tokenizer", processor_class=images["processor_class"])
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": tiny.CHAT_TEMPLATE}))
    (folder / "video_preprocessor_config.json").write_text(
        json.dumps({**QWEN3, "video_processor_type": "Qwen3VLVideoProcessor", "patch_size": 99})
    )
    name, content = ("processor_config.json", {"image_processor": images}) if nested else (
        "preprocessor_config.json", images)  # fmt: skip
    (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("images", "nested", "patch", "grid", "area"),
    [
        pytest.param(QWEN2_5, False, 14, [1, 34, 46], (3136, 12845056), id="2.5"),
        pytest.param(
            {**QWEN2_5, "image_processor_type": "Qwen2VLImageProcessorFast"},
            False, 14, [1, 34, 46], (3136, 12845056), id="2.5 fast",
        ),
        pytest.param(QWEN3, False, 16, [1, 30, 40], (65536, 16777216), id="3"),
        pytest.param(QWEN3, True, 16, [1, 30, 40], (65536, 16777216), id="3 in one file"),
    ],
)  # fmt: skip
def test_public_layouts_give_their_patches(
    tmp_path: Path, images: dict[str, Any], nested: bool, patch: int, grid: list[int], area: tuple[int, int]
) -> None:
    # Breaks if the class's own patch of 14, its area bounds or the video settings replace the file's.
    assert importlib.util.find_spec("torchvision") is None
    processor = load_processor(str(hub_folder(tmp_path, images, nested)))
    patches, found = processor.encode_images([PICTURE])
    assert found.tolist() == [grid]
    assert patches.shape == (grid[1] * grid[2], 3 * 2 * patch**2)
    size = processor.image_processor.size
    assert (size.shortest_edge, size.longest_edge) == area
    # A black picture's first value is -mean / std of the red channel.
    wanted = -images["image_mean"][0] / images["image_std"][0]
    assert float(patches[0, 0]) == pytest.approx(wanted, abs=1e-5)


def test_the_chat_template_in_json_is_used(tmp_path: Path) -> None:
    processor = load_processor(str(hub_folder(tmp_path, QWEN2_5)))
    assert processor.tokenizer.chat_template == tiny.CHAT_TEMPLATE


def test_recipe_bounds_overrule_the_older_names(tmp_path: Path) -> None:
    # Breaks if max_pixels of the file stays in force beside size.
    processor = load_processor(str(hub_folder(tmp_path, QWEN2_5)))
    processor.set_pixels(None, 200 * 200)
    _, grid = processor.encode_images([PICTURE])
    assert int(grid.prod()) * 14**2 <= 200 * 200


def test_a_saved_processor_loads_the_same(tmp_path: Path) -> None:
    first = load_processor(str(hub_folder(tmp_path / "hub", QWEN2_5)))
    first.save(tmp_path / "saved")
    again = load_processor(str(tmp_path / "saved"))
    assert again.tokenizer.get_vocab() == first.tokenizer.get_vocab()
    assert again.encode_images([PICTURE])[0].equal(first.encode_images([PICTURE])[0])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("preprocessor_config.json", None, "expected tokenizer and image processor files"),
        ("preprocessor_config.json", "{", "expected tokenizer and image processor files"),
        ("tokenizer.json", None, "expected a tokenizer with words, got control tokens alone"),
        ("tokenizer.json", "{", "expected tokenizer and image processor files"),
        ("chat_template.json", None, "expected a chat template"),
        ("chat_template.json", "{", "expected JSON with a chat_template"),
        ("chat_template.json", "{}", "expected JSON with a chat_template"),
    ],
)
def test_a_missing_or_damaged_file_is_named(
    tmp_path: Path, file: str, text: str | None, message: str
) -> None:
    # Without tokenizer.json transformers gives a tokenizer of control tokens alone, in silence.
    folder = hub_folder(tmp_path, QWEN2_5)
    (folder / file).unlink() if text is None else (folder / file).write_text(text)
    with pytest.raises(ModelError, match=message) as error:
        load_processor(str(folder))
    assert "fix: " in str(error.value)


def test_a_tokenizer_of_another_family_is_refused(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path, QWEN2_5)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text().replace("<|image_pad|>", "<|picture|>")
        (folder / name).write_text(text)
    with pytest.raises(ModelError, match=r"<\|image_pad\|>"):
        load_processor(str(folder))
