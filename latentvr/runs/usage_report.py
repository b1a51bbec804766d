"""The report of an evaluation: tables, curves and what the latents look at."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from latentvr.attention.visibility import Visibility
from latentvr.data.collate import collate
from latentvr.data.encode import EncodedSample
from latentvr.data.record import Source
from latentvr.evaluation.attention import answer_to_latent, latent_to_image
from latentvr.evaluation.chart import Chart, Line
from latentvr.evaluation.evaluate import encoder_for
from latentvr.evaluation.metrics import HEADER, Prediction, by_task, rows
from latentvr.evaluation.overlay import latent_pictures
from latentvr.evaluation.report import Example, Report, ReportTable
from latentvr.models.latent_model import LatentModel
from latentvr.runs.folder import versions
from latentvr.trainers.metrics_file import read

USAGE_NOTE = (
    "bottleneck: prompt and answer cannot see the image, the latents can. With the latents dropped as well, "
    "nothing of the image is left and accuracy must fall to chance. A method without latents has no row "
    "for conditions that drop them. Intervals are Wilson's, 95 %."
)


def batches(model: LatentModel, samples: Sequence[EncodedSample], size: int) -> Iterator[dict[str, Any]]:
    """Right-padded batches on the model's device."""
    pad = model.processor.tokenizer.pad_token_id
    for start in range(0, len(samples), size):
        batch = collate(samples[start : start + size], pad)
        yield {k: v.to(model.backbone.device) if torch.is_tensor(v) else v for k, v in batch.items()}


def attention_mass(
    model: LatentModel, source: Source, visibility: Visibility, size: int, limit: int = 200
) -> float | None:
    """Answer-to-latent attention over the first records of a source; None for a method without latents."""
    if not model.reasoner.tokens():
        return None
    encoder = encoder_for(model)
    samples = [encoder.encode(r, source.images(r)) for r in source.records[:limit]]
    return answer_to_latent(model, batches(model, samples, size), visibility)


def examples(
    model: LatentModel,
    source: Source,
    predictions: Sequence[Prediction],
    visibility: Visibility,
    count: int = 6,
) -> tuple[Example, ...]:
    """Samples with the attention of their latents laid over their images."""
    encoder = encoder_for(model)
    step = max(1, len(source.records) // count)
    out = []
    for index in range(0, step * count, step)[: len(source.records)]:
        record, prediction = source.records[index], predictions[index]
        images = source.images(record)
        batch = next(batches(model, [encoder.encode(record, images)], 1))
        maps = latent_to_image(model, batch, visibility)[0]
        boxes = [(box.image, box.box) for box in record.bboxes]
        pictures = latent_pictures(images, maps, boxes)
        correct = None if prediction.failed else prediction.correct
        out.append(Example(record.id, record.prompt, record.answer, prediction.text, correct, pictures))
    return tuple(out)


def condition_table(caption: str, predictions: dict[str, list[Prediction] | None]) -> ReportTable:
    """One row per condition and task."""
    body: list[tuple[str, ...]] = []
    for name, made in predictions.items():
        if made is None:
            body.append((name, "does not apply", "", "", "", ""))
        else:
            body += [(name, *row) for row in rows(by_task(made))]
    return ReportTable(caption, ("condition", *HEADER), tuple(body), USAGE_NOTE)


def curves(folder: Path, name: str = "") -> tuple[Chart, ...]:
    """Training curves of a run folder, titled with its name: loss per step, validation accuracy."""
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


def evaluation_report(
    title: str,
    predictions: dict[str, list[Prediction] | None],
    attention: float | None,
    shown: tuple[Example, ...],
    run_folder: Path | None,
) -> Report:
    """Lay out the report of one checkpoint."""
    total = next(made for made in predictions.values() if made is not None)
    summary = [f"{sum(p.correct for p in total)} of {len(total)} answers are right."]
    if attention is not None:
        summary.append(
            f"Answer tokens put {attention:.3f} of their attention on the latents, averaged over heads, "
            "layers and answer tokens."
        )
    return Report(
        title=title,
        summary=tuple(summary),
        tables=(condition_table("Accuracy by condition", predictions),),
        charts=curves(run_folder) if run_folder else (),
        examples=shown,
        environment=versions(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
