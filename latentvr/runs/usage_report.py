"""The report of an evaluation: tables, curves and what the latents look at."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from latentvr.attention.visibility import preset
from latentvr.config.schema import Recipe
from latentvr.data.collate import collate
from latentvr.data.encode import EncodedSample
from latentvr.data.record import Record, Source
from latentvr.evaluation.attention import answer_to_latent, latent_to_image
from latentvr.evaluation.chart import Chart, Line
from latentvr.evaluation.evaluate import on_device
from latentvr.evaluation.metrics import HEADER, Prediction, by_task, rows
from latentvr.evaluation.overlay import latent_pictures
from latentvr.evaluation.prompts import encoder_for, has_latents
from latentvr.evaluation.report import Example, Report, ReportTable
from latentvr.models.latent_model import LatentModel
from latentvr.runs.folder import versions
from latentvr.trainers.metrics_file import read

#: Records that the attention figure is taken over, evenly spread.
ATTENTION_RECORDS = 200
USAGE_NOTE = (
    "bottleneck: prompt and answer cannot see the image, the latents can. With the latents dropped as well, "
    "nothing of the image is left and accuracy must fall to chance. Conditions that drop latents do not "
    "apply to a method without them. Latents of answers are replaced by zeros, by those of the next record "
    "with another answer, and by the embeddings of the record's own regions, which training feeds. "
    "Intervals are Wilson's, 95 %."
)


def batches(model: LatentModel, samples: Sequence[EncodedSample], size: int) -> Iterator[dict[str, Any]]:
    """Right-padded batches on the model's device."""
    pad = model.processor.tokenizer.pad_token_id
    for start in range(0, len(samples), size):
        yield on_device(collate(samples[start : start + size], pad), model)


def spread(source: Source, limit: int) -> list[Record]:
    """At most `limit` records, evenly over a source, so that tasks in a row all have their share."""
    count = len(source.records)
    return [source.records[i * count // min(limit, count)] for i in range(min(limit, count))]


def attention_mass(model: LatentModel, source: Source, recipe: Recipe) -> float | None:
    """Answer-to-latent attention over `ATTENTION_RECORDS` records, with the latents that training feeds.

    None for a method without latents, and where latents in answers have no regions to come from.
    """
    records = spread(source, ATTENTION_RECORDS)
    if not has_latents(model, source) or not all(_teachable(model, record) for record in records):
        return None
    encoder, seen = encoder_for(model, recipe.data.max_length), preset(recipe.decode.visibility)
    size = recipe.eval.batch_size
    parts = (records[start : start + size] for start in range(0, len(records), size))
    made = (
        batch
        for part in parts
        for batch in batches(model, [encoder.encode(r, source.images(r)) for r in part], size)
    )
    return answer_to_latent(model, made, seen)


def _teachable(model: LatentModel, record: Record) -> bool:
    """Whether a record can be encoded with its answer: latents in answers need regions."""
    return model.reasoner.span() is None or bool(record.bboxes)


def examples(
    model: LatentModel, source: Source, predictions: Sequence[Prediction], recipe: Recipe, count: int = 6
) -> tuple[Example, ...]:
    """Samples spread over a source, with the attention of their latents laid over their images."""
    encoder, seen = encoder_for(model, recipe.data.max_length), preset(recipe.decode.visibility)
    answers = {prediction.id: prediction for prediction in predictions}
    out = []
    for record in spread(source, count):
        prediction, images = answers[record.id], source.images(record)
        sample = encoder.encode(record, images, with_answer=_teachable(model, record))
        batch = next(batches(model, [sample], 1))
        maps = latent_to_image(model, batch, seen)[0]
        pictures = latent_pictures(images, maps, [(box.image, box.box) for box in record.bboxes])
        correct = None if prediction.failed else prediction.correct
        out.append(
            Example(record.id, record.prompt, record.answer, prediction.text.strip(), correct, pictures)
        )
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
            f"layers, answer tokens and at most {ATTENTION_RECORDS} records spread over the split."
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
