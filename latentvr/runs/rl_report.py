"""The report of a run of reinforcement: curves, red flags and what the policy wrote first and last."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentvr.data.printable import printable
from latentvr.evaluation.report import Group, Report, ReportTable, write_report
from latentvr.rl.health import FLAGS, Flag, Watchman
from latentvr.runs.folder import read_manifest
from latentvr.runs.rl_curves import Rows, curves, values
from latentvr.trainers.metrics_file import read

#: Logged steps at either end whose mean the summary gives.
ENDS = 10
#: Completions of a step that the page shows.
SHOWN = 8
PHASES = ("rollout", "reward", "replay", "update")
HEALTH_NOTE = (
    "First and last are single logged values. A flag is no proof that something is wrong. Whether the "
    "rewards measure what they should, no figure tells: read the completions below."
)


def write_rl_report(
    folder: Path, rewards: Sequence[str], health_steps: int = 20, flags: Sequence[Flag] = FLAGS
) -> Path:
    """Write `report.html` of a run from its `metrics.jsonl`, `completions.jsonl` and `manifest.json`.

    Args:
        folder: run folder.
        rewards: names of the reward functions.
        health_steps: optimiser steps that a red flag holds before its hint.
        flags: red flags, as `flags_for` gives them for the model's precision.

    Returns:
        The file, which replaces an older one.

    Raises:
        CheckpointError: a line of metrics or completions is damaged.
        RecipeError: the manifest is damaged.
    """
    rows = read(folder / "metrics.jsonl")
    file = folder / "manifest.json"
    manifest = read_manifest(file) if file.is_file() else {}
    health, hints = health_table(rows, health_steps, flags)
    report = Report(
        title=f"Reinforcement: {folder.resolve().name}",
        summary=(*summary(rows, rewards), *hints),
        tables=tuple(table for table in (health, time_table(rows)) if table.rows),
        charts=curves(rows, rewards),
        groups=completion_groups(read(folder / "completions.jsonl")),
        environment=environment(manifest),
        command=shlex.join(manifest.get("command", [])),
    )
    return write_report(folder / "report.html", report)


def summary(rows: Rows, rewards: Sequence[str]) -> list[str]:
    """Where reward and validation accuracy began and ended, in words."""
    lines = []
    reward = values(rows, "reward")
    if not reward:
        return ["No optimiser step has been logged."]
    size = min(ENDS, max(1, len(reward) // 2))
    parts = []
    for figure, name in (("reward", "reward"), *((f"rewards/{name}/mean", name) for name in rewards)):
        ys = [y for _, y in values(rows, figure)]
        if ys:
            began, ended = ys[:size], ys[-size:]
            parts.append(f"{name} {sum(began) / len(began):.3g}, then {sum(ended) / len(ended):.3g}")
    lines.append(
        f"{int(reward[-1][0])} optimiser steps. Means of the first and the last {size} logged steps: "
        f"{'; '.join(parts)}."
    )
    accuracy = values(rows, "validation_accuracy")
    if accuracy:
        step, best = max(accuracy, key=lambda point: point[1])
        ends = accuracy[:1] if len(accuracy) == 1 else [accuracy[0], accuracy[-1]]
        shown = ", ".join(f"{100 * found:.1f} % at step {int(at)}" for at, found in ends)
        more = f"; the best is {100 * best:.1f} % at step {int(step)}" if len(accuracy) > 1 else ""
        lines.append(f"Validation accuracy: {shown}{more}.")
    return lines


def health_table(rows: Rows, steps: int, flags: Sequence[Flag]) -> tuple[ReportTable, list[str]]:
    """Look at the whole run again, as the watchman did.

    Args:
        rows: of `metrics.jsonl`, in order.
        steps: optimiser steps that a flag holds before its hint.
        flags: which flags.

    Returns:
        One row per flag whose figure was logged, and the last hint of each flag, as paragraphs.
    """
    watchman = Watchman(steps, flags)
    raised: dict[str, list[int]] = {flag.name: [] for flag in flags}
    last: dict[str, str] = {}
    for row in rows:
        down = [flag.name for flag in flags if not watchman.told(flag.name)]
        hints = watchman.look(row)
        for name, hint in zip([name for name in down if watchman.told(name)], hints, strict=True):
            raised[name].append(int(row["step"]))
            last[name] = f"Red flag at step {row['step']}: {hint}."
    body = []
    for flag in flags:
        seen = [y for _, y in values(rows, flag.figure)]
        if seen:
            ends = (f"{seen[0]:.4g}", f"{seen[-1]:.4g}")
            state = _standing(watchman, flag.name, raised[flag.name])
            body.append((f"{flag.name} ({flag.figure})", state, *ends, flag.condition))
    header = ("figure", "state", "first", "last", "red flag where")
    note = f"A hint is given when a flag was up for {steps} optimiser steps. {HEALTH_NOTE}"
    return ReportTable("Health", header, tuple(body), note), list(last.values())


def _standing(watchman: Watchman, name: str, raised: Sequence[int]) -> str:
    since = watchman.since(name)
    if since is not None:
        return f"{'RED FLAG' if watchman.told(name) else 'up'} since step {since}"
    return f"raised at step {', '.join(map(str, raised))}, down again" if raised else "fine"


def time_table(rows: Rows) -> ReportTable:
    """Mean seconds of each phase of an optimiser step, and its share of them all."""
    means = {}
    for phase in PHASES:
        seconds = [y for _, y in values(rows, f"time/{phase}")]
        if seconds:
            means[phase] = sum(seconds) / len(seconds)
    total = sum(means.values()) or 1.0
    body = tuple((name, f"{mean:.3g}", f"{100 * mean / total:.0f} %") for name, mean in means.items())
    return ReportTable("Where the time goes", ("phase", "seconds, mean", "share"), body)


def completion_groups(written: Rows) -> tuple[Group, ...]:
    """Completions of the first and the last logged step, those of a prompt together.

    Args:
        written: rows of `completions.jsonl`, in order.

    Returns:
        The groups; at most `SHOWN` completions of either step.
    """
    steps = list(dict.fromkeys(int(row["step"]) for row in written))
    groups = []
    for step in dict.fromkeys([*steps[:1], *steps[-1:]]):
        rows = [row for row in written if row["step"] == step]
        shown = rows[:SHOWN]
        for id in dict.fromkeys(str(row["id"]) for row in shown):
            own = [row for row in shown if str(row["id"]) == id]
            cut = f", {len(shown)} of the step's {len(rows)}" if len(shown) < len(rows) else ""
            texts = tuple((printable(str(row["completion"]), lines=True), _figures(row)) for row in own)
            heading = f"Step {step}{cut}: {printable(id)}"
            prompt = printable(str(own[0]["prompt"]), lines=True)
            groups.append(Group(heading, prompt, printable(str(own[0]["answer"])), texts))
    return tuple(groups)


def _figures(row: dict[str, Any]) -> str:
    """Reward, its parts, advantage and end of a completion in one line."""
    parts = [
        f"{name} {'not applicable' if value is None else format(value, '.3g')}"
        for name, value in row["rewards"].items()
    ]
    parts = [f"reward {row['reward']:.3g}", *parts, f"advantage {row['advantage']:+.3g}"]
    return " · ".join([*parts, f"{row['latent_steps']} latent steps", f"finish {row['finish']}"])


def environment(manifest: dict[str, Any]) -> dict[str, str]:
    """What the manifest says about versions, machine, seed, data and resumptions."""
    out = {str(name): str(version) for name, version in manifest.get("versions", {}).items()}
    out |= {key: str(manifest[key]) for key in ("python", "machine", "seed", "attention") if key in manifest}
    data = manifest.get("data")
    if data:
        out["data"] = f"{data['records']} records, SHA-256 {data['sha256']}"
    git = manifest.get("git")
    if git:
        out["git"] = f"{git['commit']}{' with changes' if git['changes'] else ''}"
    if manifest.get("resumed"):
        out["resumed after step"] = ", ".join(str(entry["step"]) for entry in manifest["resumed"])
    return out
