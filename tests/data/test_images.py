"""Image opening: hostile names, hostile files, and the pixels of odd but honest ones."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentvr.data.images import MAX_BYTES, decode_image, open_image
from latentvr.errors import ImageError

WHERE = "records.jsonl row 12"


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def _picture(width: int = 24, height: int = 16) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    return Image.fromarray(noise.astype(np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image root with one picture, and the same picture outside the root."""
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    for path in (folder / "ok.png", folder / "sub/ok.png", tmp_path / "outside.png"):
        _picture().save(path)
    return folder


@pytest.mark.parametrize("name", ["ok.png", "sub/ok.png", "./sub/ok.png", "sub//ok.png"])
def test_honest_names_open(root: Path, name: str) -> None:
    assert open_image(name, root, WHERE).size == (24, 16)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.png",
        "sub/../../outside.png",
        "sub/../ok.png",
        "..",
        "{root}/ok.png",
        "{outside}",
        "//server/share/x.png",
        "\\\\server\\share\\x.png",
        "..\\outside.png",
        "C:\\x.png",
        "C:/x.png",
        "file://{outside}",
        "file:{outside}",
        "FILE:///etc/passwd",
        "http://example.org/x.png",
        "HTTPS://example.org/x.png",
        "ftp://example.org/x.png",
        "data:image/png;base64,AAAA",
        "~/x.png",
        "ok.png\0.jpg",
        "",
        "   ",
        "missing.png",
        "%2e%2e/outside.png",
        "sub",
        "ok.png/x",
        "a" * 5000,
    ],
)
def test_hostile_names_are_refused_with_the_row(root: Path, name: str) -> None:
    outside = root.parent / "outside.png"
    with pytest.raises(ImageError, match=r"records\.jsonl row 12") as caught:
        open_image(name.format(root=root, outside=outside), root, WHERE)
    message = str(caught.value)
    assert message.startswith("expected ")
    assert "; fix: " in message
    assert len(message) < 1000


def test_links_may_stay_inside_but_not_lead_out(root: Path) -> None:
    (root / "inside.png").symlink_to("sub/ok.png")
    (root / "leak.png").symlink_to(root.parent / "outside.png")
    (root / "up").symlink_to(root.parent)
    (root / "loop.png").symlink_to("loop.png")
    assert open_image("inside.png", root, WHERE).size == (24, 16)
    for name in ("leak.png", "up/outside.png", "loop.png"):
        with pytest.raises(ImageError, match=WHERE):
            open_image(name, root, WHERE)


def test_root_may_itself_be_a_link(root: Path) -> None:
    (root.parent / "alias").symlink_to(root)
    assert open_image("ok.png", root.parent / "alias", WHERE).size == (24, 16)


def test_a_pipe_is_refused_without_being_read(root: Path) -> None:
    """Breaks by hanging for ever if the pipe is opened."""
    os.mkfifo(root / "pipe.png")
    with pytest.raises(ImageError, match="expected a regular file"):
        open_image("pipe.png", root, WHERE)


def test_a_line_break_in_a_name_does_not_reach_the_log(root: Path) -> None:
    with pytest.raises(ImageError) as caught:
        open_image("x\nERROR forged \x1b[31m.png", root, WHERE)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def _bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes whose header claims width x height pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(99)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(7072, 7072), (10_000, 9_000), (14_000, 12_000), (60_000, 60_000)])
def test_a_huge_header_is_refused_before_decoding(size: tuple[int, int]) -> None:
    """Breaks if pixels are allocated before the header is judged."""
    tracemalloc.start()
    with pytest.raises(ImageError, match="expected at most 50000000 pixels"):
        decode_image(_bomb(*size), WHERE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_huge_claim_in_other_formats_is_refused(kind: str) -> None:
    data = bytearray(_encoded(Image.new("RGB", (8, 8)), kind))
    if kind == "JPEG":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", 9000, 9000)
    else:
        data[26:30] = struct.pack("<HH", 16383, 16383)
    with pytest.raises(ImageError, match="expected at most 50000000 pixels"):
        decode_image(bytes(data), WHERE)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damage_anywhere_gives_pixels_or_our_error(kind: str) -> None:
    """Breaks if a decoder raises something that `images.py` does not know."""
    rng = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 3
    sound = np.frombuffer(_encoded(_picture(), kind, exif=exif), dtype=np.uint8)
    refused = 0
    for _ in range(150):
        damaged = sound.copy()
        damaged[rng.integers(0, min(len(sound), 400), 4)] = rng.integers(0, 256, 4)
        try:
            assert decode_image(damaged.tobytes(), WHERE).mode == "RGB"
        except ImageError:
            refused += 1
    assert refused > 10


def test_a_file_of_too_many_bytes_is_refused() -> None:
    with pytest.raises(ImageError, match="expected at most 50000000 bytes"):
        decode_image(bytes(MAX_BYTES + 1), WHERE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97])
def test_truncated_files_are_refused(kind: str, kept: float) -> None:
    data = _encoded(_picture(64, 64), kind)
    with pytest.raises(ImageError, match=WHERE):
        decode_image(data[: int(len(data) * kept)], WHERE)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused_whatever_their_name(root: Path, kind: str) -> None:
    (root / "fake.png").write_bytes(_encoded(_picture(), kind))
    with pytest.raises(ImageError, match="expected a JPEG, PNG or WebP image"):
        open_image("fake.png", root, WHERE)


def test_the_content_decides_not_the_ending(root: Path) -> None:
    (root / "really.jpg").write_bytes(_encoded(_picture(), "PNG"))
    assert open_image("really.jpg", root, WHERE).tobytes() == _picture().tobytes()


@pytest.mark.parametrize(
    "data", [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", bytes(64)]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=WHERE):
        decode_image(data, WHERE)


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "GIF"])
def test_animations_are_refused(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = _encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"expected (one frame, got 2|a JPEG, PNG or WebP image)"):
        decode_image(data, WHERE)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
def test_single_pixel_sides_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="expected sides of at least 2 pixels"):
        decode_image(_encoded(Image.new("RGB", size), "PNG"), WHERE)
    assert decode_image(_encoded(Image.new("RGB", (2, 2)), "PNG"), WHERE).size == (2, 2)


def test_orientation_is_applied() -> None:
    """Orientation 6 means that the camera was turned: the first column is the top row, reversed."""
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = decode_image(_encoded(_picture(), "PNG", exif=exif), WHERE)
    expected = np.rot90(np.asarray(_picture()), -1)
    assert np.array_equal(np.asarray(upright), expected)


def test_alpha_is_laid_over_white() -> None:
    half = Image.new("RGBA", (2, 2), (255, 0, 0, 128))
    half.putpixel((0, 0), (0, 0, 0, 0))
    opened = decode_image(_encoded(half, "PNG"), WHERE)
    assert opened.mode == "RGB"
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((1, 1)) == (255, 127, 127)


def test_palette_transparency_is_laid_over_white() -> None:
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.putpixel((1, 1), 1)
    opened = decode_image(_encoded(palette, "PNG", transparency=0), WHERE)
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((1, 1)) == (10, 20, 30)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257 * 10], [257 * 200, 65535]], dtype=np.uint16)
    opened = decode_image(_encoded(Image.fromarray(values), "PNG"), WHERE)
    assert np.asarray(opened)[..., 0].tolist() == [[0, 10], [200, 255]]
    assert opened.mode == "RGB"


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    opened = decode_image(_encoded(Image.new("RGB", (8, 8), "white").convert(mode), kind), WHERE)
    assert opened.mode == "RGB"
    assert min(opened.getpixel((4, 4))) > 250
