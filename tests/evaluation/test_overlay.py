"""Maps are laid over images where they belong."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from latentvr.evaluation.overlay import colours, latent_pictures, overlay

GREY = Image.new("RGB", (64, 64), (128, 128, 128))


def lightness(rgb: np.ndarray) -> np.ndarray:
    return rgb[..., 0] * 0.2126 + rgb[..., 1] * 0.7152 + rgb[..., 2] * 0.0722


def test_more_weight_is_lighter() -> None:
    ramp = lightness(colours(np.linspace(0, 1, 50, dtype=np.float32)))
    assert (np.diff(ramp) > 0).all()


def test_the_heaviest_cell_is_the_lightest_place() -> None:
    weights = np.zeros((4, 4), np.float32)
    weights[0, 3] = 0.02
    image = lightness(np.asarray(overlay(GREY, weights)))
    assert image.shape == (256, 256)
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert row < 64
    assert column >= 192
    assert image[200, 50] < 128 < image.max()


@pytest.mark.parametrize("size", [(64, 64), (1, 3), (300, 200), (3000, 20)])
def test_any_image_size_works(size: tuple[int, int]) -> None:
    out = overlay(Image.new("L", size, 10), np.zeros((2, 3), np.float32))
    assert out.mode == "RGB"
    assert 256 <= max(out.size) <= 512


def test_boxes_are_drawn_on_the_overlay() -> None:
    weights = np.ones((2, 2), np.float32)
    plain = np.asarray(overlay(GREY, weights))
    boxed = np.asarray(overlay(GREY, weights, [(0.5, 0.5, 1.0, 1.0)]))
    changed = (plain != boxed).any(-1)
    assert changed[:120, :120].sum() == 0
    assert changed[128, 200]
    assert not changed[190, 190]


def test_pictures_show_each_image_and_each_group() -> None:
    maps = [np.full((10, 4, 4), 0.25, np.float32), np.zeros((10, 4, 4), np.float32)]
    out = latent_pictures([GREY, GREY], maps, [(0, (0.0, 0.0, 0.5, 0.5))], groups=3)
    assert [picture.label for picture in out[:4]] == [
        "image 1",
        "image 1, latents 1\u20134, max 0.25",
        "image 1, latents 5\u20137, max 0.25",
        "image 1, latents 8\u201310, max 0.25",
    ]
    assert len(out) == 8
    assert Image.open(BytesIO(out[1].encoded)).size == (256, 256)


def test_a_group_shows_the_mean_of_its_own_latents() -> None:
    maps = np.zeros((2, 1, 2), np.float32)
    maps[0, 0, 0] = maps[1, 0, 1] = 1
    first, second = (np.asarray(Image.open(BytesIO(p.encoded))) for p in latent_pictures([GREY], [maps])[1:])
    assert lightness(first[128, 20]) > lightness(first[128, 235])
    assert lightness(second[128, 20]) < lightness(second[128, 235])


def test_without_latents_only_the_image_is_shown() -> None:
    assert [p.label for p in latent_pictures([GREY], [np.zeros((0, 4, 4), np.float32)])] == ["image 1"]
