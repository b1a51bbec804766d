"""What the scripts of `launchers/` run, and when a job of Slurm goes back into the queue."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

LAUNCHERS = Path(__file__).parents[2] / "launchers"
RUN = ["train", "recipes/livr_tiny.yaml", "model.path=a b"]
QUOTED = "train recipes/livr_tiny.yaml model.path=a\\ b"
MEET = "--nnodes 2 --rdzv-backend c10d --rdzv-endpoint first:29501 --rdzv-id latentvr"
ZERO2 = LAUNCHERS / "deepspeed" / "zero2.json"


def shown(script: str, *arguments: str, **variables: str) -> str:
    """The command that a script would run."""
    environment = {"PATH": os.environ["PATH"], "DRY_RUN": "1", **variables}
    done = subprocess.run(
        ["bash", str(LAUNCHERS / script), *arguments],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("script", "variables", "command"),
    [
        ("local.sh", {}, f"python -m latentvr {QUOTED}"),
        (
            "torchrun.sh",
            {"NPROC": "2", "PYTHON": "/my/python"},
            f"/my/python -m latentvr.runs.torchrun --standalone --nproc-per-node 2 -m latentvr {QUOTED}",
        ),
        (
            "torchrun.sh",
            {"NPROC": "8", "NODES": "2", "MASTER_ADDR": "first", "MASTER_PORT": "29501"},
            f"python -m latentvr.runs.torchrun {MEET} --nproc-per-node 8 -m latentvr {QUOTED}",
        ),
        (
            "deepspeed.sh",
            {"NPROC": "2"},
            "python -m latentvr.runs.torchrun --standalone --nproc-per-node 2 -m latentvr "
            f"{QUOTED} train.deepspeed={ZERO2}",
        ),
        (
            "deepspeed.sh",
            {"HOSTFILE": "hosts"},
            f"deepspeed --hostfile hosts --no_local_rank --module latentvr {QUOTED} train.deepspeed={ZERO2}",
        ),
    ],
)
def test_the_command_of_a_script(script: str, variables: dict[str, str], command: str) -> None:
    assert shown(script, *RUN, **variables) == command


def test_without_gpus_there_is_one_process(tmp_path: Path) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'GPU 0: one'\necho 'GPU 1: two'\n")
    driver.chmod(0o755)
    found = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert "--nproc-per-node 2 " in shown("torchrun.sh", *RUN, **found)
    for visible, count in (("1", 1), ("0,1,3", 3), ("", 1), ("-1", 1)):
        command = shown("torchrun.sh", *RUN, CUDA_VISIBLE_DEVICES=visible, **found)
        assert f"--nproc-per-node {count} " in command
    driver.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    assert "--nproc-per-node 1 " in shown("torchrun.sh", *RUN, **found)


@pytest.mark.parametrize(
    ("text", "added"),
    [
        ("train:\n  deepspeed: own.json\n", 0),
        ("train: {steps: 2, deepspeed: own.json}\n", 0),
        ("train:\n  deepspeed: null\n", 1),
        ("train:\n  deepspeed: ~ # none\n", 1),
        ("train:\n  # deepspeed: own.json\n  seed: 1\n", 1),
        ("train: {deepspeed: null}\n", 1),
    ],
)
def test_settings_of_deepspeed_that_are_given_stay(text: str, added: int, tmp_path: Path) -> None:
    """Breaks when: the settings that a run wrote, with `deepspeed: null`, start one without DeepSpeed."""
    recipe = tmp_path / "x.yaml"
    recipe.write_text(text)
    assert shown("deepspeed.sh", "train", str(recipe)).count(f"train.deepspeed={ZERO2}") == added
    null = shown("deepspeed.sh", "train", str(recipe), "train.deepspeed=null")
    assert null.endswith(f"train.deepspeed=null train.deepspeed={ZERO2}")
    assert shown("deepspeed.sh", *RUN, "train.deepspeed=own.json").count("train.deepspeed") == 1


def test_machines_that_cannot_meet_are_refused() -> None:
    done = subprocess.run(
        ["bash", str(LAUNCHERS / "torchrun.sh"), *RUN],
        env={"PATH": os.environ["PATH"], "NODES": "2"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "set MASTER_ADDR" in done.stderr


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """Variables of a job on two nodes, with programs that stand in for those of Slurm and note their use."""
    programs = {
        "srun": (
            f"trap 'echo \"srun got USR1\" >> {tmp_path}/log; sleep 0.3; exit $(cat {tmp_path}/code)' USR1\n"
            f'echo "srun $*" >> {tmp_path}/log\n'
            f"touch {tmp_path}/started\n"
            f"while [ -e {tmp_path}/wait ]; do sleep 0.05; done\nexit $(cat {tmp_path}/code)\n"
        ),
        "scontrol": (
            'if [ "$1" = show ]; then printf "node7\\nnode8\\n"; '
            f'else echo "scontrol $*" >> {tmp_path}/log; fi\n'
        ),
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "code").write_text("0")
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "41", "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4",
    }  # fmt: skip


@pytest.mark.parametrize("starts", ["0", "1"])
def test_a_job_that_starts_again_goes_on(starts: str, cluster: dict[str, str], tmp_path: Path) -> None:
    subprocess.run(
        ["bash", str(LAUNCHERS / "slurm.sbatch"), *RUN],
        env={**cluster, "SLURM_RESTART_COUNT": starts}, check=True,
    )  # fmt: skip
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert "-m latentvr.runs.torchrun --nnodes 2 --nproc-per-node 4 " in line
    assert f"--rdzv-endpoint node7:20041 --rdzv-id 41-{starts} " in line
    assert line.endswith(" --resume-or-start") == (starts == "1")


@pytest.mark.parametrize(("code", "goes_back"), [(143, True), (138, False), (1, False), (0, False)])
def test_a_signalled_job_goes_back_into_the_queue_if_it_saved(
    code: int, goes_back: bool, cluster: dict[str, str], tmp_path: Path
) -> None:
    """Breaks when: a signal ends the script's wait and with it the job, is passed on twice, or a job
    that crashes or has too little time to start is started again for ever.
    """
    (tmp_path / "wait").touch()
    (tmp_path / "code").write_text(str(code))
    job = subprocess.Popen(["bash", str(LAUNCHERS / "slurm.sbatch"), *RUN], env=cluster)
    for _ in range(400):
        if (tmp_path / "started").exists():
            break
        time.sleep(0.05)
    time.sleep(0.2)  # the script's handler is set right after srun is started
    job.send_signal(signal.SIGUSR1)
    time.sleep(0.1)
    if job.poll() is None:
        job.send_signal(signal.SIGUSR1)
    assert job.wait(30) == code
    log = (tmp_path / "log").read_text().splitlines()
    assert log[1] == "srun got USR1"
    assert log[2:] == (["scontrol requeue 41"] if goes_back else [])


def test_a_job_asks_for_the_signal_and_the_queue() -> None:
    lines = (LAUNCHERS / "slurm.sbatch").read_text().splitlines()
    assert {"#SBATCH --requeue", "#SBATCH --signal=B:USR1@300", "#SBATCH --ntasks-per-node=1"} <= set(lines)


@pytest.mark.parametrize("script", sorted(path.name for path in LAUNCHERS.glob("*.s*")))
def test_a_script_says_how_to_call_it_and_stops_at_the_first_error(script: str) -> None:
    lines = (LAUNCHERS / script).read_text().splitlines()
    comment = [line for line in lines if line.startswith("#")]
    assert "set -euo pipefail" in lines
    assert any(script in line and "recipes/" in line for line in comment)
    named = [word for line in comment for word in shlex.split(line.replace("'", "")) if "recipes/" in word]
    assert all((LAUNCHERS.parent / name).is_file() for name in named)
