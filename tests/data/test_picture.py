"""Images for people: boxes, enlargement, data URIs."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from latentvr.data.picture import data_uri, displayed, jpeg, png, thumbnail, with_boxes


@pytest.mark.parametrize(
    ("size", "shown"),
    [((64, 64), (256, 256)), ((100, 30), (300, 90)), ((300, 200), (300, 200)), ((2048, 1024), (512, 256))],
)
def test_sizes(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert displayed(Image.new("RGB", size)).size == shown


def test_small_images_keep_their_pixels() -> None:
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    shown = np.asarray(displayed(Image.fromarray(pixels)))
    assert (shown[::64, ::64] == pixels).all()
    assert (shown[63::64, 63::64] == pixels).all()


def test_boxes_frame_their_region_and_leave_the_original_alone() -> None:
    image = Image.new("RGB", (200, 100))
    out = np.asarray(with_boxes(image, [(0.25, 0.2, 0.75, 0.8)]))
    drawn = np.sum(out, -1) > 0
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    assert (rows[0], rows[-1]) == (20, 79)
    assert (columns[0], columns[-1]) == (50, 149)
    assert not drawn[50, 100]
    assert not np.asarray(image).any()


def test_boxes_thinner_than_the_line_and_at_the_edge_can_be_drawn() -> None:
    out = with_boxes(Image.new("RGB", (20, 20)), [(0.5, 0.5, 0.5, 0.5), (0.0, 0.0, 1.0, 1.0)])
    assert np.asarray(out)[10, 10].any()


def test_a_data_uri_holds_the_image() -> None:
    uri = data_uri(png(Image.new("RGB", (3, 2), (1, 2, 3))))
    image = Image.open(BytesIO(b64decode(uri.removeprefix("data:image/png;base64,"))))
    assert image.size == (3, 2)
    assert image.getpixel((0, 0)) == (1, 2, 3)


def test_a_data_uri_names_the_format() -> None:
    uri = data_uri(jpeg(Image.new("RGB", (16, 8), (250, 10, 10))))
    image = Image.open(BytesIO(b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
    assert (image.format, image.size) == ("JPEG", (16, 8))
    with pytest.raises(ValueError, match="PNG or JPEG"):
        data_uri(b"<svg onload=alert(1)>")


def test_a_jpeg_has_no_metadata_of_its_source() -> None:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", comment=b"secret", exif=_exif())
    again = Image.open(BytesIO(jpeg(Image.open(file))))
    assert "comment" not in again.info
    assert "exif" not in again.info


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = "secret"
    return exif


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1"])
def test_images_of_any_mode_become_jpegs(mode: str) -> None:
    assert Image.open(BytesIO(jpeg(Image.new(mode, (4, 4))))).mode == "RGB"


@pytest.mark.parametrize(
    ("size", "small"),
    [((64, 64), (192, 192)), ((100, 30), (100, 30)), ((1024, 768), (192, 144)), ((3000, 2), (192, 1))],
)
def test_thumbnails_have_a_longest_side(size: tuple[int, int], small: tuple[int, int]) -> None:
    assert thumbnail(Image.new("L", size), 192).size == small
