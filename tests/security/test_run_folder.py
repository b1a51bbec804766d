"""What a run leaves on disk, and what it takes from there and from the network."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

RECIPE = [
    "tests/e2e/tiny.yaml",
    "model.path=tiny-qwen2.5-vl",
    "data.toy.train=4",
    "data.toy.validation=2",
    "data.toy.test=2",
    "data.feature_cache=off",
    "stages.bottleneck.steps=2",
    "stages.causal.steps=2",
    "train.batch_size=2",
    "train.save_steps=1",
    "train.save_limit=9",
    "optim.trainable=lora",
    "decode.max_new_tokens=2",
]
CANARY = "hf_canaryThatMustNotBeWritten"


@pytest.fixture(scope="module")
def run(latentvr: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a secret in its environment and without a network, diagnosed with a report."""
    folder = tmp_path_factory.mktemp("secure") / "run"
    secrets = {"HF_TOKEN": CANARY, "WANDB_API_KEY": CANARY, "HF_HUB_OFFLINE": "0"}
    for argv in (["train", *RECIPE, f"train.output_dir={folder}"], ["diagnose", str(folder)]):
        done = latentvr(*argv, sockets=False, **secrets)
        assert done.code == 0, done.err
    return folder


def test_nothing_asks_for_the_internet(run: Path) -> None:
    """The run above had every internet socket refused."""
    assert (run / "diagnose" / "test" / "report.html").is_file()


def test_the_refusal_of_sockets_works(latentvr: Any, tmp_path: Path) -> None:
    argv = ["train", *RECIPE, "model.path=someone/some-model", f"train.output_dir={tmp_path}/run"]
    done = latentvr(*argv, sockets=False, HF_HUB_OFFLINE="0")
    assert done.code != 0


def test_no_secret_of_the_environment_is_written(run: Path) -> None:
    files = [f for f in run.rglob("*") if f.is_file()]
    assert len(files) > 20
    assert [f for f in files if CANARY.encode() in f.read_bytes()] == []


def test_the_manifest_says_what_is_needed_to_repeat_the_run(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    assert set(manifest["versions"]) >= {"torch", "transformers", "peft", "accelerate", "numpy"}
    assert set(manifest["git"]) == {"commit", "changes"}
    assert manifest["seed"] == 42
    assert manifest["data"]["records"] == 4
    assert len(manifest["data"]["sha256"]) == 64
    assert manifest["attention"] == "two_pass"
    assert manifest["command"][:2] == ["latentvr", "train"]


def test_no_file_of_a_run_is_a_pickle(run: Path) -> None:
    endings = {f.suffix for f in run.rglob("*") if f.is_file()}
    assert endings <= {".json", ".jsonl", ".yaml", ".safetensors", ".jinja", ".html"}
    assert [f for f in run.rglob("*") if f.is_file() and f.read_bytes()[:2] in (b"\x80\x02", b"PK")] == []


PICKLE = "cos\nsystem\n(S'touch {canary}'\ntR."
UNREAD = [
    "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state.pth", "rng_state_0.pth",
    "training_args.bin", "pytorch_model.bin", "adapter_model.bin",
]  # fmt: skip
"""Names under which other libraries keep pickles; nothing reads them here."""
READ = [
    "adapter_model.safetensors", "optimizer.safetensors", "generators-0.safetensors", "trainer_state.json",
    "run_state.json", "latentvr.json", "optimizer.json", "adapter_config.json", "tokenizer.json",
    "tokenizer_config.json", "preprocessor_config.json",
]  # fmt: skip
SAVED_AGAIN = {"tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"}
"""Files that resuming does not read: the backbone's own are used, and they are written again."""


@pytest.mark.parametrize("names", [UNREAD, *([name] for name in READ)], ids=lambda names: names[-1])
def test_a_pickle_in_a_checkpoint_is_never_executed(
    names: list[str], latentvr: Any, run: Path, tmp_path: Path
) -> None:
    """The listing of the checkpoint fits the planted file, as an attacker would make it."""
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    checkpoints, canary = tmp_path / "run" / "checkpoints", tmp_path / "canary"
    shutil.rmtree(checkpoints / "step-4")
    folder = checkpoints / "step-3"
    for name in names:
        (folder / name).write_text(PICKLE.format(canary=canary))
    files = {
        f.name: {"size": f.stat().st_size, "sha256": hashlib.sha256(f.read_bytes()).hexdigest()}
        for f in folder.iterdir()
        if f.name != "complete.json"
    }
    (folder / "complete.json").write_text(json.dumps(files))
    resumed = latentvr("train", *RECIPE, f"train.output_dir={tmp_path}/run", "--resume")
    loaded = latentvr("eval", str(folder), "--out", str(tmp_path / "eval"))
    assert not canary.exists()
    assert "Traceback" not in resumed.err + loaded.err
    for done in (resumed, loaded):
        assert done.code in (0, 2)
        assert (done.code == 2) == (sum(line.startswith("error: ") for line in done.err.splitlines()) == 1)
    assert (resumed.code == 0) == (names == UNREAD or names[0] in SAVED_AGAIN), resumed.err


def test_the_planted_text_would_have_run(tmp_path: Path) -> None:
    """Without this the test above could pass with a text that does nothing."""
    import subprocess
    import sys

    canary = tmp_path / "canary"
    program = "import pickle, sys; pickle.loads(sys.argv[1].encode())"
    subprocess.run([sys.executable, "-c", program, PICKLE.format(canary=canary)], check=True)
    assert canary.exists()
