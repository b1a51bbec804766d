"""Published sizes: parameter counts, and two optimiser steps at real width on models cut to two layers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import latentvr
from latentvr.data import toy
from latentvr.data.processor import Processor
from latentvr.errors import ModelError
from latentvr.models import tiny
from latentvr.models.published_shapes import cut, published_config, random_model

ROOT = Path(__file__).parents[2]
# Number of parameters of the released weights, shared embeddings counted once, and of their vision towers.
COUNTS = {
    "Qwen/Qwen2.5-VL-3B-Instruct": (3_754_622_976, 668_684_288),
    "Qwen/Qwen2.5-VL-7B-Instruct": (8_292_166_656, 676_550_144),
    "Qwen/Qwen3-VL-4B-Instruct": (4_437_815_808, 415_347_712),
    # By hand. Decoder: 36 layers of q and o 2 x 2560 x 4096, k and v 2 x 2560 x 1024, three 2560 x 9728,
    # norms 2 x 2560 + 2 x 128; norm 2560; embedding and head 2 x 151936 x 2560: 4,411,424,256.
    # Tower: 24 blocks of 1024 x 3072 + 3072, 1024 x 1024 + 1024, 1024 x 4096 + 4096, 4096 x 1024 + 1024,
    # norms 4 x 1024; patches 1024 x 588, class token 1024, its angles 32, norms 2 x 2048, merger
    # 4096 x 4096 + 4096 and 4096 x 2560 + 2560: 330,186,272.
    "lmms-lab/LLaVA-OneVision-1.5-4B-Instruct": (4_741_610_528, 330_186_272),
}
RECIPES = {
    "livr_qwen3_4b": "Qwen/Qwen3-VL-4B-Instruct",
    "livr_qwen25vl_3b": "Qwen/Qwen2.5-VL-3B-Instruct",
    "livr_llava_ov15_4b": "lmms-lab/LLaVA-OneVision-1.5-4B-Instruct",
}


def test_every_published_config_is_counted() -> None:
    # Breaks if a config is added whose numbers nobody checked.
    files = (ROOT / "recipes" / "models").glob("*.json")
    assert {file.stem for file in files} == {name.replace("/", "--") for name in COUNTS}


@pytest.mark.parametrize("name", COUNTS)
def test_a_published_config_gives_the_released_number_of_parameters(name: str) -> None:
    # Breaks with one wrong width, depth, vocabulary or tie in the file.
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(published_config(name))
    tower = sum(p.numel() for p in model.model.visual.parameters())
    assert (sum(p.numel() for p in model.parameters()), tower) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_rotary_settings_fit_the_heads(name: str) -> None:
    # The three axes share half of each head; transformers accepts a wrong split in silence.
    text = published_config(name).get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    assert sum(text.rope_parameters.get("mrope_section", [head // 2])) == head // 2
    assert ("mrope_section" in text.rope_parameters) == ("Qwen" in name)
    assert text.rope_parameters["rope_theta"] == (1e6 if "Qwen2.5" in name else 5e6)


@pytest.mark.parametrize("name", COUNTS)
def test_a_random_model_is_cut_and_in_the_number_format_asked_for(name: str) -> None:
    # Breaks if a benchmark on few layers runs more of them, or in float32.
    model = random_model(name, torch.bfloat16, "meta", layers=2)
    assert len(model.model.language_model.layers) == len(model.model.visual.blocks) == 2
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_a_model_without_a_published_config_is_refused() -> None:
    with pytest.raises(ModelError, match="got 'some/model', at random_model; fix: add"):
        random_model("some/model", torch.float32, "meta")


def cut_to_two_layers(name: str, folder: Path) -> Path:
    """Write a folder like the published one, with two text and two vision layers and random weights."""
    config = published_config(name)
    cut(config, 2)
    text, vision = config.get_text_config(), config.vision_config
    tokenizer = tiny.build_tokenizer(toy.corpus())
    config.update(tiny.special_ids(tokenizer))
    text.eos_token_id, text.bos_token_id = tokenizer.eos_token_id, None
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.bos_token_id = None
    model.save_pretrained(folder)
    patches = Qwen2VLImageProcessorPil(
        patch_size=vision.patch_size,
        merge_size=vision.spatial_merge_size,
        temporal_patch_size=vision.temporal_patch_size,
        size={"shortest_edge": 64 * 64, "longest_edge": 512 * 512},
    )
    Processor(tokenizer, patches).save(folder)
    return folder


def train(recipe: str, model: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Run two stages of one optimiser step each through the command line."""
    for split in ("train", "validation"):
        toy.write(toy.Toy(["counting", "jigsaw"], split, 1, seed=1), out.parent / split)
    overrides = [
        f"model.path={model}",
        f"data.train={out.parent / 'train' / 'records.jsonl'}",
        f"data.validation={out.parent / 'validation' / 'records.jsonl'}",
        "data.test=null",
        f"train.output_dir={out}",
        "train.gradient_accumulation=1",
        "train.device=cpu",
        "stages.bottleneck.steps=1",
        "stages.causal.steps=1",
        # With a warm-up, the only step of a stage would have a learning rate of zero.
        "optim.warmup=0",
        "decode.max_new_tokens=2",
    ]
    command = [sys.executable, "-m", "latentvr", "train", f"recipes/{recipe}.yaml", *overrides]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A folder that is emptied afterwards: the models take more than a gigabyte each."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_steps_at_real_width(recipe: str, room: Path) -> None:
    # Breaks if anything between the command line and the checkpoint depends on small widths, on a small
    # vocabulary, on float32 weights or on the tiny family's patch sizes.
    model = cut_to_two_layers(RECIPES[recipe], room / "model")
    done = train(recipe, model, room / "run")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (room / "run" / "metrics.jsonl").read_text().splitlines()]
    stages = [(row["step"], row["stage"]) for row in rows if "loss" in row]
    assert stages == [(1, "bottleneck"), (2, "causal")]
    assert any("validation_accuracy" in row for row in rows)
    checkpoint = room / "run" / "checkpoints" / "best"
    trained = load_file(checkpoint / "adapter_model.safetensors")
    assert all(bool(value.any()) for name, value in trained.items() if "lora_B" in name)
    source = toy.Toy(["counting"], "test", 1, seed=1)
    (record,) = source.records
    answer = latentvr.load(room / "run").generate(record.prompt, source.images(record), max_new_tokens=2)
    width = AutoConfig.from_pretrained(model).get_text_config().hidden_size
    assert answer.latents.shape == (16, width)
    assert torch.isfinite(answer.latents).all()
    assert 0 < len(answer.ids) <= 2
