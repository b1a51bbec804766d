"""Lengths told from headers are those of the encoded samples.

Breaks when: an image is measured as it is stored and not as it is shown, the size rule of the image processor
is not the one that cuts patches, or a picture beside the prompt is left out.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from latentvr.data.dataset import EncodedDataset
from latentvr.data.images import open_image, open_size
from latentvr.data.lengths import image_sizes, token_lengths
from latentvr.data.readers.source import open_source
from latentvr.data.record import Box, Record, Source
from latentvr.data.written import to_row
from latentvr.errors import ImageError, RecordError
from latentvr.evaluation.prompts import encoder_for

# Odd sides, strips, below the least area and above the largest.
SIZES = [(64, 64), (67, 131), (33, 200), (301, 77), (9, 10), (3, 500), (513, 511), (100, 41)]
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "latents in the prompt": ("livr", {"latents": 3}),
    "images twice": ("livr", {"image_twice": True}),
    "regions": ("lvr", {}),
    "painted over": ("lvr", {"hide_region": True}),
    "crops": ("lvr", {"target": "crop", "layout": "A"}),
}


def _late_chunk(file: Path, kind: bytes, data: bytes) -> None:
    """Write a PNG chunk behind the pixels, where a header does not reach."""
    whole = file.read_bytes()
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    file.write_bytes(whole[:-12] + chunk + whole[-12:])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A record for each size and way of storing, turned by EXIF in front, behind and not at all."""
    import json

    folder = tmp_path_factory.mktemp("images")
    turned = Image.Exif()
    turned[0x0112] = 6
    records = []
    for i, size in enumerate(SIZES):
        kind = ("png", "jpg", "webp")[i % 3]
        picture, other = Image.new("RGB", size, (i * 30, 9, 80)), Image.new("RGB", (70, 35))
        picture.save(folder / f"{i}.{kind}", **({"exif": turned} if i % 2 else {}))
        other.save(folder / f"other-{i}.png")
        if i % 4 == 0:
            _late_chunk(folder / f"other-{i}.png", b"eXIf", turned.tobytes().removeprefix(b"Exif\0\0"))
        boxes = (Box(0, (0.1, 0.0, 0.55, 0.9)), Box(1, (0.3, 0.2, 1.0, 1.0)))
        names = (f"{i}.{kind}", f"other-{i}.png")
        text = "this is one <image> , this is another <image>"
        records.append(Record(f"r{i}", "t", "train", names, text, "A", bboxes=boxes))
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(to_row(record)) + "\n" for record in records))
    return open_source(path)


def test_sizes_are_those_of_the_opened_images(source: Source) -> None:
    sizes = [image_sizes(source, record) for record in source.records]
    assert sizes == [[image.size for image in source.images(record)] for record in source.records]
    assert sizes[1][0] == (131, 67)  # turned
    assert (sizes[0][1], sizes[1][1]) == ((35, 70), (70, 35))  # turned by a note behind the pixels, and not


@pytest.mark.parametrize("method", METHODS)
def test_lengths_are_those_of_encoded_samples(lab: Any, source: Source, method: str) -> None:
    """Under the model's own bounds of an image's area, and under narrow ones."""
    name, options = METHODS[method]
    model = lab.model("tiny-qwen2.5-vl", name, **options)
    data, found = EncodedDataset(source, encoder_for(model)), []
    for pixels in ((None, None), (40 * 40, 90 * 90)):
        model.processor.set_pixels(*pixels)
        found.append(token_lengths(data))
        assert found[-1] == [len(data[i].ids) for i in range(len(data))]
        assert len(set(found[-1])) > 4
    assert found[0] != found[1]


def test_every_family_measures_by_its_own_patches(lab: Any, family: str, source: Source) -> None:
    data = EncodedDataset(source, encoder_for(lab.model(family)))
    measured = token_lengths(data)
    assert measured == [len(data[i].ids) for i in range(len(data))]
    assert [token_lengths(data, first, 2) for first in (0, 1)] == [measured[0::2], measured[1::2]]


def test_samples_that_are_kept_are_encoded_once(lab: Any, source: Source) -> None:
    data = EncodedDataset(source, encoder_for(lab.model("tiny-qwen3-vl")), keep=True)
    assert token_lengths(data) == [len(data[i].ids) for i in range(len(data))]
    assert all(data[i] is data[i] for i in range(len(data)))


def test_what_is_wrong_with_a_sample_is_told_with_its_place(lab: Any, source: Source) -> None:
    encoder = encoder_for(lab.model("tiny-qwen3-vl"), max_length=20)
    with pytest.raises(RecordError, match=r"expected at most 20 tokens, got \d+, at .*row 1"):
        token_lengths(EncodedDataset(source, encoder))

    class Line:
        records = (replace(source.records[0], images=("line",), prompt="what", bboxes=()),)
        where = source.where

        def sizes(self, record: Record) -> list[tuple[int, int]]:
            del record
            return [(2, 900)]

        def images(self, record: Record) -> list[Image.Image]:
            raise AssertionError(record.id)

    with pytest.raises(RecordError, match=r"aspect ratio .* at .*row 1; fix: replace the image"):
        token_lengths(EncodedDataset(Line(), encoder))


def test_no_pixel_is_decoded_for_a_size(tmp_path: Path) -> None:
    """A file that breaks off behind its header still has a size; one without a header has none."""
    Image.effect_noise((120, 50), 90).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    assert open_size("cut.png", tmp_path, "here") == (120, 50)
    with pytest.raises(ImageError, match=r"undamaged image.*here, image 'cut.png'"):
        open_image("cut.png", tmp_path, "here")
    (tmp_path / "none.png").write_bytes(whole[:10])
    with pytest.raises(ImageError, match=r"another or a damaged file, at here, image 'none\.png'"):
        open_size("none.png", tmp_path, "here")
    with pytest.raises(ImageError, match="below"):
        open_size("../none.png", tmp_path / "sub", "here")
