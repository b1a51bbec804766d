"""Copies of a picture are found, other pictures of its kind are not, and every measure must agree."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import sklearn.datasets
from PIL import Image

from latentvr.data.builders.against_blink import against_blink
from latentvr.data.builders.clip import Clip
from latentvr.data.builders.duplicates import DuplicateRules, Duplicates, MatchRules
from latentvr.errors import ModelError, RecordError, UserError

PHOTOS = {
    **{
        name: Path(skimage.data.__file__).parent / name
        for name in ("chelsea.png", "coffee.png", "rocket.jpg")
    },
    **{
        name: Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")
    },
}
LOOSE = MatchRules(max_hash_distance=64, min_ssim=-1)


def _photo(name: str) -> Image.Image:
    return Image.open(PHOTOS[name]).convert("RGB")


def _cropped(image: Image.Image, share: float) -> Image.Image:
    x, y = round(image.width * share / 2), round(image.height * share / 2)
    return image.crop((x, y, image.width - x, image.height - y))


def _halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2))


@pytest.fixture(scope="module")
def textures(make):
    return make("textures")


@pytest.fixture(scope="module")
def photos() -> Duplicates:
    return Duplicates([(name, _photo(name)) for name in PHOTOS], MatchRules())


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A folder with a CLIP of a few thousand parameters, drawn by a fixed seed."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    torch.manual_seed(0)
    small = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "projection_dim": 16,
    }  # fmt: skip
    config = CLIPConfig(
        text_config={**small, "vocab_size": 10},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(folder)
    crop = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("copy", ["same", "jpeg 70", "jpeg 30", "half", "half and back"])
def test_a_copy_is_found(photos: Duplicates, textures, name: str, copy: str) -> None:
    image = _photo(name)
    copies: dict[str, Callable[[], Image.Image]] = {
        "same": lambda: image,
        "jpeg 70": lambda: textures.jpeg(image, 70),
        "jpeg 30": lambda: textures.jpeg(image, 30),
        "half": lambda: _halved(image),
        "half and back": lambda: _halved(image).resize(image.size),
    }
    match = photos.of(copies[copy]())
    assert match is not None
    assert match.reference == name
    assert match.clip is None


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("way", [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180])
def test_a_turned_picture_is_another_one(photos: Duplicates, name: str, way: Image.Transpose) -> None:
    assert photos.of(_photo(name).transpose(way)) is None


def test_other_places_of_a_picture_are_other_pictures() -> None:
    tiles = [
        (f"{name} {i} {j}", image.crop((w * i // 4, h * j // 4, w * (i + 1) // 4, h * (j + 1) // 4)))
        for name in PHOTOS
        for image in (_photo(name),)
        for w, h in (image.size,)
        for i in range(4)
        for j in range(4)
    ]
    search = Duplicates(tiles, MatchRules(), also_blurred=True)
    assert [search.of(tile).reference for _, tile in tiles] == [name for name, _ in tiles]
    # Without one of the two measures this would be wrong, which shows that the other one counts.
    by_pixels = Duplicates(tiles, MatchRules(max_hash_distance=64))
    assert any(len(by_pixels._matches(tile, "raw")) > 1 for _, tile in tiles)


def test_pixels_must_agree_as_well_as_hashes() -> None:
    image = _photo("chelsea.png")
    faint = image.point(lambda value: 110 + value // 10)
    match = Duplicates([("cat", image)], LOOSE).of(faint)
    assert match.hash_distance <= 8
    assert match.ssim < 0.8
    assert Duplicates([("cat", image)], MatchRules()).of(faint) is None


@pytest.mark.parametrize("name", ["coffee.png", "china.jpg"])
def test_a_slight_crop_is_found_when_blurred(name: str) -> None:
    references = [(name, _photo(name))]
    crop = _cropped(_photo(name), 0.02)
    assert Duplicates(references, MatchRules()).of(crop) is None
    match = Duplicates(references, MatchRules(), also_blurred=True).of(crop)
    assert (match.reference, match.by) == (name, "blurred")


def test_thresholds_are_inclusive() -> None:
    references = [("rocket", _photo("rocket.jpg"))]
    crop = _cropped(_photo("rocket.jpg"), 0.03)
    found = Duplicates(references, LOOSE).of(crop)
    assert found.hash_distance > 0
    just = MatchRules(max_hash_distance=found.hash_distance, min_ssim=found.ssim)
    assert Duplicates(references, just).of(crop) == found
    for tighter in (
        replace(just, max_hash_distance=found.hash_distance - 1),
        replace(just, min_ssim=float(np.nextafter(found.ssim, 1))),
    ):
        assert Duplicates(references, tighter).of(crop) is None


def test_the_best_match_is_given(textures) -> None:
    image = _photo("coffee.png")
    references = [
        ("worse", _cropped(image, 0.03)),
        ("best", textures.jpeg(image, 50)),
        ("other", _photo("china.jpg")),
    ]
    loose = MatchRules(max_hash_distance=20, min_ssim=0.3)
    assert len(Duplicates(references, loose)._matches(image, "raw")) == 2
    assert Duplicates(references, loose).of(image).reference == "best"


def test_references_of_every_batch_are_compared(textures, clip: Path) -> None:
    references = [(f"r{seed}", textures.texture(seed)) for seed in range(70)]
    for rules in (MatchRules(), MatchRules(clip=str(clip))):
        search = Duplicates(iter(references), rules)
        assert [search.of(image).reference for _, image in references] == [name for name, _ in references]
        assert search.notes()["references"] == len(search.names) == 70


def test_clip_must_agree_where_it_is_given(textures, clip: Path) -> None:
    image = _photo("chelsea.png")
    copy = textures.jpeg(image, 20)
    first, second = Clip(clip).embed([image]), Clip(clip).embed([copy])
    cosine = float(first[0] @ second[0])
    assert cosine < 0.999999
    found = Duplicates([("cat", image)], MatchRules(clip=str(clip), min_clip=-1)).of(copy)
    assert found.clip == pytest.approx(cosine, abs=1e-5)
    above = MatchRules(clip=str(clip), min_clip=(1 + cosine) / 2)
    assert Duplicates([("cat", image)], above).of(copy) is None
    assert Duplicates([("cat", image)], above).of(image).clip == pytest.approx(1, abs=1e-5)


def test_a_batch_is_embedded_as_its_pictures_are(textures, clip: Path) -> None:
    images = [textures.texture(seed, (40 + seed, 64)) for seed in range(3)]
    together = Clip(clip).embed(images)
    assert together.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    alone = np.concatenate([Clip(clip).embed([image]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_clip_folder_that_is_none_is_refused(tmp_path: Path, clip: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    with pytest.raises(ModelError, match="no such folder"):
        Duplicates([], MatchRules(clip=str(tmp_path / "gone")))
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((clip / name).read_bytes())
    weights = load_file(clip / "model.safetensors")
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="expected a CLIP model in safetensors"):
        Duplicates([], MatchRules(clip=str(tmp_path)))
    # A missing projection would be drawn at random.
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="weights that do not fit"):
        Duplicates([], MatchRules(clip=str(tmp_path)))


def _pairs(textures) -> Duplicates:
    named = [(f"p{pair}#{side}", textures.texture(10 * pair + side)) for pair in range(3) for side in (0, 1)]
    return Duplicates(named, MatchRules())


@pytest.mark.parametrize(("seeds", "order"), [((10, 11), "raw aligned"), ((11, 10), "raw swapped")])
def test_a_pair_is_found_in_both_orders(textures, seeds: tuple[int, int], order: str) -> None:
    pictures = [textures.jpeg(textures.texture(seed)) for seed in seeds]
    match = _pairs(textures).pair(*pictures)
    assert (match.reference, match.by) == ("p1", order)
    alone = [_pairs(textures).of(picture) for picture in pictures]
    assert match.ssim == min(one.ssim for one in alone)
    assert match.hash_distance == max(one.hash_distance for one in alone)


@pytest.mark.parametrize("seeds", [(10, 99), (99, 11), (10, 21), (10, 10), (10, 20)])
def test_half_a_pair_is_no_duplicate(textures, seeds: tuple[int, int]) -> None:
    assert _pairs(textures).pair(*(textures.texture(seed) for seed in seeds)) is None


def test_a_rejection_says_what_it_is_a_duplicate_of(textures) -> None:
    search = _pairs(textures)
    rejection = search.rejection([textures.texture(99), textures.texture(20)])
    assert rejection.rule == "duplicate"
    detail = json.loads(json.dumps(rejection.detail))
    wanted = {"image": 1, "reference": "p2#0", "hash_distance": 0, "ssim": 1.0, "clip": None, "by": "raw"}
    assert detail == wanted
    assert search.rejection([textures.texture(99)]) is None


@pytest.mark.parametrize("package", ["imagehash", "skimage.metrics"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"no {package}.*pip install 'latentvr\[data\]'"):
        Duplicates([], MatchRules())


def test_blink_is_read_by_sub_task(make, textures, tmp_path: Path) -> None:
    blink = make("blink_rows")
    blink.write(tmp_path, "Art_Style", [[textures.texture(1), textures.texture(2)], [textures.texture(3)]])
    blink.write(tmp_path, "Jigsaw", [[textures.texture(4)]])
    rules = DuplicateRules(blink=str(tmp_path))
    search = against_blink(rules, "Art_Style", "art_style")
    assert search.names == ("val_Art_Style_1#0", "val_Art_Style_1#1", "val_Art_Style_2#0")
    assert search.of(textures.texture(2)).reference == "val_Art_Style_1#1"
    assert search.of(textures.texture(4)) is None
    assert against_blink(replace(rules, dedup="off"), "Art_Style", "art_style") is None
    with pytest.raises(RecordError, match="Visual_Similarity"):
        against_blink(rules, "Visual_Similarity", "visual_similarity")


def test_without_blink_nothing_is_compared_silently() -> None:
    with pytest.raises(UserError, match=r"data build art_style; fix: blink=DIR, or dedup=off"):
        against_blink(DuplicateRules(), "Art_Style", "art_style")
