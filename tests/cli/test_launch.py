"""`--launcher`: what it would run, and what it refuses before anything is started."""

from __future__ import annotations

import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from latentvr.cli.main import app, guarded
from latentvr.config.shipped import launcher_file

RECIPE = "recipes/livr_tiny.yaml"


def call(*arguments: str) -> int:
    return guarded(partial(app, args=list(arguments), standalone_mode=False))


@pytest.mark.parametrize(
    ("options", "start"),
    [
        (["--launcher", "local"], "-m latentvr"),
        (
            ["--launcher", "torchrun", "--processes", "4", "--resume"],
            "-m latentvr.runs.torchrun --standalone --nproc-per-node 4 -m latentvr",
        ),
    ],
)
def test_a_dry_run_shows_the_command(
    options: list[str], start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train", RECIPE, "train.output_dir=a b", *options, "--dry-run") == 0
    command = [sys.executable, *shlex.split(start), "train", RECIPE, "train.output_dir=a b"]
    assert shlex.split(capsys.readouterr().out) == command + (["--resume"] if "--resume" in options else [])


def test_deepspeed_gets_settings_unless_the_recipe_has_some(capsys: pytest.CaptureFixture[str]) -> None:
    launch = ["train", RECIPE, "--launcher", "deepspeed", "--processes", "2", "--dry-run"]
    own, shipped = launcher_file("deepspeed/zero3.json"), launcher_file("deepspeed/zero2.json")
    for given, settings in (([], shipped), ([f"train.deepspeed={own}"], own)):
        assert call(*launch, *given) == 0
        words = shlex.split(capsys.readouterr().out)
        assert [word for word in words if "deepspeed" in word] == [f"train.deepspeed={settings}"]


@pytest.mark.parametrize("verb", ["train", "rl"])
def test_the_job_script_is_filled_in(verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recipe = RECIPE if verb == "train" else "recipes/lvr_grpo_tiny.yaml"
    options = ["--launcher", "slurm", "--processes", "8", "--nodes", "2", "--dry-run"]
    assert call(verb, recipe, "train.output_dir=it's", *options) == 0
    script = capsys.readouterr().out
    assert f"\nNPROC=8\nset -- {verb} " in script
    for line in ("#SBATCH --nodes=2", "#SBATCH --gpus-per-node=8", "#SBATCH --requeue"):
        assert script.splitlines().count(line) == 1
    for name, text in (("srun", 'for a in "$@"; do echo "$a"; done'), ("scontrol", "echo node1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "node1", "SLURM_NNODES": "2"}
    job |= {"NPROC": "3", "PYTHON": "another"}  # of the shell that submits; sbatch hands them on
    done = subprocess.run(
        ["bash"], input=script, env={"PATH": f"{tmp_path}:/usr/bin:/bin", **job},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = done.stdout.splitlines()
    assert sys.executable in words
    assert words[words.index("--nproc-per-node") + 1] == "8"
    assert words[-4:] == ["latentvr", verb, recipe, "train.output_dir=it's"]


@pytest.mark.parametrize(("device", "asks"), [("cpu", False), ("cuda", True)])
def test_a_job_on_cpus_asks_for_no_gpu(device: str, asks: bool, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--launcher", "slurm", "--processes", "2", "--dry-run"]
    assert call("train", RECIPE, f"train.device={device}", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    gpus = [line for line in lines if line.startswith("#SBATCH --gpus")]
    assert gpus == ["#SBATCH --gpus-per-node=2"] * asks
    assert "#SBATCH --ntasks-per-node=1" in lines


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--processes", "2"], "fix: add --launcher torchrun"),
        (["--launcher", "local", "--processes", "2"], "fix: --launcher torchrun"),
        (["--launcher", "torchrun", "--nodes", "2"], "at the variable MASTER_ADDR"),
        (["--launcher", "torchrun", "optim.lr=1"], "did you mean optim.learning_rate?"),
        (["--launcher", "torchrun", "train.output_dir=tests"], "expected an empty"),
        (["--launcher", "slurm"], "expected --processes with --launcher slurm"),
        (["--launcher", "slurm", "--processes", "1", "train.output_dir=new"], "expected the program sbatch"),
        (
            ["--launcher", "deepspeed", "--processes", "2", "--nodes", "2"],
            "from the variable HOSTFILE alone, got --processes and --nodes too",
        ),
    ],
)
def test_what_cannot_begin_is_refused_in_one_sentence(
    options: list[str], part: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    if "HOSTFILE" in part:
        monkeypatch.setenv("HOSTFILE", "hosts")
    if "sbatch" in part:
        monkeypatch.setenv("PATH", "")
    assert call("train", RECIPE, *options) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert part in shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")


def test_a_job_that_slurm_refuses_is_an_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sbatch").write_text("#!/bin/sh\ncat > job\necho 'no such partition' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    recipe = Path(RECIPE).resolve()
    monkeypatch.chdir(tmp_path)
    assert call("train", str(recipe), "--launcher", "slurm", "--processes", "1") == 2
    assert "got exit code 1, at --launcher slurm" in capfd.readouterr().err
    assert (tmp_path / "job").read_text().startswith("#!/usr/bin/env bash\n#SBATCH ")


@pytest.mark.parametrize("verb", ["train", "rl"])
def test_without_a_launcher_a_dry_run_is_for_so_many_processes(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = RECIPE if verb == "train" else "recipes/livr_grpo_tiny.yaml"
    small = [
        "model.path=tiny-backbone",
        "data.toy.train=8",
        "data.toy.validation=2",
        "train.output_dir=no-such-folder",
    ]
    assert call(verb, recipe, *small, "--processes", "2", "--nodes", "3", "--dry-run") == 0
    assert "(on each of 6 processes, " in capsys.readouterr().out
