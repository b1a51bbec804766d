"""The tiny backbone is made by its command, and the shipped one sees."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from latentvr.attention.visibility import CAUSAL
from latentvr.config.pretrain import LanguagePhase, PretrainConfig, VisionPhase, load_pretraining
from latentvr.config.schema import ModelConfig, ReasonerConfig
from latentvr.data.encode import IGNORED
from latentvr.data.toy import COLOURS, scene
from latentvr.errors import RecipeError, UserError
from latentvr.models import tiny
from latentvr.models.load import ASSETS, TINY_BACKBONE, load_model, load_stock
from latentvr.runs.pretrain import Pretraining, pretrain, rebuild, save_backbone
from latentvr.runs.pretrain_language import answer_accuracy, shuffled_batches
from latentvr.runs.pretrain_pairs import draw_pairs
from latentvr.runs.pretrain_vision import cell_labels, cell_pixels

SHIPPED = ASSETS / TINY_BACKBONE
RECIPE = Path(__file__).parents[2] / "recipes" / "tiny_backbone.yaml"
SMALL = PretrainConfig(
    validation=4,
    vision=VisionPhase(steps=8, batch_size=8, plain_images=2, plain_pool=2),
    language=LanguagePhase(samples=6, task_samples=2, pairs=12, cycles=2, epochs=2, batch_size=12),
)


@pytest.fixture(scope="module")
def small() -> Pretraining:
    return pretrain(SMALL)


@pytest.mark.parametrize("phase", ["vision", "language"])
def test_the_loss_of_each_phase_falls(small: Pretraining, phase: str) -> None:
    # Frozen parameters, shuffled labels or a dropped optimiser step would leave it where it starts.
    losses = small.losses[phase]
    assert sum(losses[-2:]) / 2 < 0.8 * losses[0]


def test_the_phases_train_what_they_should(small: Pretraining) -> None:
    start, _ = tiny.build(SMALL.family, ["what digit is at the ref mark ?"], SMALL.seed)
    end = small.model.backbone.model
    moved = {name: not torch.equal(p, end.get_parameter(name)) for name, p in start.named_parameters()}
    still = [name for name, change in moved.items() if not change]
    assert still == []


def test_the_second_phase_leaves_the_vision_tower_alone(small: Pretraining) -> None:
    short = dataclasses.replace(SMALL, language=dataclasses.replace(SMALL.language, cycles=1, epochs=1))
    other = pretrain(short).model.backbone
    pairs = zip(small.model.backbone.vision_tower.parameters(), other.vision_tower.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    language = zip(
        small.model.backbone.language_model.parameters(), other.language_model.parameters(), strict=True
    )
    assert not all(torch.equal(a, b) for a, b in language)


def test_the_written_folder_loads_as_any_model(small: Pretraining, tmp_path: Path) -> None:
    folder = save_backbone(small, SMALL, tmp_path / "backbone")
    for name in ("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"):
        assert (folder / name).is_file()
    model, processor = load_stock(ModelConfig(path=str(folder), dtype="float32"))
    ours = small.model.backbone.model
    assert model.get_input_embeddings().weight.dtype is torch.float32
    assert len(processor.tokenizer) + 64 <= model.get_input_embeddings().weight.shape[0]
    assert processor.tokenizer.chat_template
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, ours.get_parameter(name).half().float())
    written = json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))
    assert written["settings"] == dataclasses.asdict(SMALL)


def test_a_folder_with_other_files_is_not_overwritten(small: Pretraining, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(UserError, match="got other files"):
        save_backbone(small, SMALL, tmp_path)


def test_lists_of_pairs_have_labels_at_the_values_alone(small: Pretraining) -> None:
    tokenizer = small.model.processor.tokenizer
    samples = draw_pairs(small.model, 9, seed=2)
    words = {"colour": {*COLOURS}, "letter": {*"ABCD"}, "digits": {*"0123456789"}}
    for sample in samples:
        asked = tokenizer.decode(sample.ids[: sample.prompt_length])
        kind = next(word for word in words if f"list the {word}" in asked)
        wanted = sample.labels[sample.labels != IGNORED]
        values = {tokenizer.decode([token]).strip() for token in wanted.tolist()}
        assert len(wanted) > 0
        assert values <= words[kind]
    assert len(samples) > 0


def test_batches_of_similar_length_hold_every_sample_once() -> None:
    lengths = torch.tensor([40, 90, 41, 42, 91, 43, 92])
    batches = shuffled_batches(lengths, 3, torch.Generator().manual_seed(0))
    assert sorted(i for part in batches for i in part.tolist()) == list(range(7))
    assert [sorted(lengths[part].tolist()) for part in batches if 40 in lengths[part]] == [[40, 41, 42]]


def test_labels_and_pixels_follow_the_order_of_the_cells() -> None:
    # Cell 6 is in row 1, column 2: a transposed grid would read another digit and another picture.
    drawn = scene("train", 1, 0)
    labels = cell_labels([drawn])
    wanted = int(drawn.cells.digits[1, 2])
    assert int(labels["digits"][6]) == (wanted if wanted >= 0 else 10)
    corner = torch.from_numpy(drawn.image[16:18, 32:34].copy()).float().mean((0, 1)) / 127.5 - 1
    got = cell_pixels([drawn.image])[6].reshape(3, 8, 8)[:, 0, 0]
    assert torch.allclose(got, corner, atol=1e-5)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(UserError, match=r"expected a tiny family of tiny-qwen2\.5-vl, .*got 'tiny-gpt'"):
        pretrain(PretrainConfig(family="tiny-gpt"))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("visoin.steps=3", "visoin"),
        ("vision.steps=many", "vision.steps"),
        ("language.pairs=[]", "language.pairs"),
    ],
)
def test_wrong_settings_are_named(override: str, key: str) -> None:
    with pytest.raises(RecipeError, match=rf"expected settings of the pretraining, got: .*, key {key}; fix"):
        load_pretraining(None, [override])


OVERRIDES = [
    "validation=2", "vision.steps=2", "vision.batch_size=2", "vision.plain_images=1", "vision.plain_pool=1",
    "language.samples=2", "language.task_samples=1", "language.pairs=3", "language.cycles=1",
    "language.epochs=1",
]  # fmt: skip


def test_rebuilding_takes_overrides(tmp_path: Path) -> None:
    told: list[str] = []
    folder = rebuild(tmp_path, told.append, OVERRIDES)
    settings = json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))["settings"]
    assert settings == dataclasses.asdict(load_pretraining(RECIPE, OVERRIDES))
    assert settings["vision"]["steps"] == 2
    assert told[-1] == f"tiny backbone: {folder}"


def test_rebuilding_refuses_wrong_overrides(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"key visoin; fix") as error:
        rebuild(tmp_path, [].append, ["visoin.steps=3"])
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_is_that_of_the_shipped_weights() -> None:
    shipped = json.loads((SHIPPED / "pretraining.json").read_text(encoding="utf-8"))["settings"]
    assert dataclasses.asdict(load_pretraining(RECIPE)) == shipped
    assert dataclasses.asdict(PretrainConfig()) == shipped


def test_the_shipped_backbone_is_small_and_whole() -> None:
    weights = SHIPPED / "model.safetensors"
    assert weights.stat().st_size <= 4 * 2**20
    model, processor = load_stock(ModelConfig(path=TINY_BACKBONE, dtype="float32"))
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert len(processor.tokenizer) + 64 <= model.get_input_embeddings().weight.shape[0]


def test_the_shipped_backbone_sees() -> None:
    # Chance is 10 %, 20 % and 25 %; a broken image path, template or tokenizer falls there.
    torch.set_num_threads(1)
    model = load_model(ModelConfig(path=TINY_BACKBONE, dtype="float32"), ReasonerConfig(), [CAUSAL])
    tasks = ("digit_at_mark", "colour_at_mark", "letter_of_digit")
    counts = answer_accuracy(model, tasks, "test", 3, 34)
    assert all(right >= 24 for right, _ in counts.values()), counts
