"""Curves of a run of supervised fine-tuning, from its `metrics.jsonl`."""

from __future__ import annotations

from pathlib import Path

from latentvr.evaluation.chart import Chart, Line
from latentvr.trainers.metrics_file import read


def curves(folder: Path, name: str = "") -> tuple[Chart, ...]:
    """Lay out loss per step and validation accuracy.

    Args:
        folder: of the run.
        name: of the run, for the titles.

    Returns:
        A chart for each figure that was logged.
    """
    logged = read(folder / "metrics.jsonl")
    loss = tuple((float(row["step"]), float(row["loss"])) for row in logged if "loss" in row)
    accuracy = tuple(
        (float(row["step"]), 100 * float(row["validation_accuracy"]))
        for row in logged
        if "validation_accuracy" in row
    )
    stages = [row["stage"] for row in logged]
    starts = [i for i in range(len(logged)) if i == 0 or stages[i] != stages[i - 1]]
    marks = tuple((float(logged[i]["step"]), stages[i]) for i in starts)
    charts, whose = [], f": {name}" if name else ""
    if loss:
        charts.append(
            Chart(f"Training loss{whose}", "optimiser step", "nats per token", (Line("loss", loss),), marks)
        )
    if accuracy:
        lines = (Line("validation", accuracy),)
        charts.append(Chart(f"Validation accuracy{whose}", "optimiser step", "accuracy %", lines))
    return tuple(charts)
