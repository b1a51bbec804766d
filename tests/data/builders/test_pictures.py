"""Pictures of a data set: stored pixels, any of the formats, nothing outside of the folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentvr.data.builders.pictures import open_file
from latentvr.errors import ImageError


@pytest.fixture
def picture(make) -> Image.Image:
    return make("textures").texture(5, (40, 24))


def _turned(picture: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)


def test_pixels_stay_as_they_are_stored_unless_asked_for(picture, tmp_path: Path) -> None:
    _turned(picture, tmp_path / "a.png")
    stored = open_file(tmp_path / "a.png", tmp_path)
    np.testing.assert_array_equal(np.asarray(stored), np.asarray(picture))
    assert not stored.getexif()
    assert not stored.crop((0, 0, 9, 9)).info
    upright = open_file(tmp_path / "a.png", tmp_path, upright=True)
    np.testing.assert_array_equal(np.asarray(upright), np.rot90(np.asarray(picture), -1))


@pytest.mark.parametrize("ending", ["ppm", "png", "webp", "jpg"])
def test_formats_are_told_by_content_and_can_be_narrowed(picture, tmp_path: Path, ending: str) -> None:
    picture.save(tmp_path / f"a.{ending}")
    (tmp_path / f"a.{ending}").rename(tmp_path / "a.img")
    assert open_file(tmp_path / "a.img", tmp_path).mode == "RGB"
    others = [kind for kind in ("PPM", "PNG", "WEBP", "JPEG") if ending[:2] not in kind.lower()]
    with pytest.raises(ImageError, match=r"expected a \w+, \w+ or \w+ image, got another"):
        open_file(tmp_path / "a.img", tmp_path, others)


def test_one_format_is_named_alone(picture, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="expected a PPM image, got"):
        open_file(tmp_path / "a.png", tmp_path, ("PPM",))


def test_the_root_may_be_a_link_and_nothing_in_it_may_lead_out(picture, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    picture.save(tmp_path / "real/a.png")
    picture.save(tmp_path / "out.png")
    os.symlink(tmp_path / "real", tmp_path / "set")
    os.symlink(tmp_path / "out.png", tmp_path / "real/b.png")
    root = tmp_path / "set"
    assert open_file(root / "a.png", root).size == picture.size
    for path in (root / "b.png", root / "../out.png", tmp_path / "out.png", root / "missing.png"):
        with pytest.raises(ImageError):
            open_file(path, root)
