"""What a diagnosis comes to: figures, verdict, geometry and probes of one model on one source."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentvr.config.schema import Recipe
from latentvr.data.record import Source
from latentvr.diagnostics.diagnose import Diagnosis, diagnose
from latentvr.diagnostics.figures import BASELINE, Figures, table
from latentvr.diagnostics.geometry import Geometry, geometry
from latentvr.diagnostics.interventions import Intervention
from latentvr.diagnostics.probes import Probe, probe
from latentvr.diagnostics.recorded import NotApplicable
from latentvr.diagnostics.regions import region_latents
from latentvr.diagnostics.verdict import RULE, Verdict, verdict
from latentvr.evaluation.metrics import Prediction
from latentvr.models.latent_model import LatentModel
from latentvr.runs.folder import replace_text

#: What can be left out.
PARTS = ("geometry", "probes")


@dataclass(frozen=True)
class Asked:
    """What a diagnosis is to do.

    Attributes:
        interventions: those that are run.
        seeds: runs of those that draw at random.
        top_k: number of slots that `top_k` takes.
        without: of `PARTS`.
    """

    interventions: tuple[Intervention, ...]
    seeds: int = 3
    top_k: int = 1
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Found:
    """What a diagnosis came to.

    Attributes:
        diagnosis: outcomes record by record.
        figures: by condition, the baseline first.
        verdict: in a word and a sentence.
        geometry: figures of the latents; None where it was left out.
        probes: what can be read from them; empty where they were left out.
        facts: checkpoint, data and settings that the figures belong to.
    """

    diagnosis: Diagnosis
    figures: dict[str, Figures]
    verdict: Verdict
    geometry: Geometry | None
    probes: tuple[Probe, ...]
    facts: dict[str, Any]


def examine(
    model: LatentModel, source: Source, recipe: Recipe, asked: Asked, facts: dict[str, Any] | None = None
) -> Found:
    """Run interventions on a model, judge what they give, and measure its latents.

    Args:
        model: any method.
        source: records and images.
        recipe: how answers are written, batch size, longest sample.
        asked: what is to be done.
        facts: that the figures belong to.

    Returns:
        What was found.
    """
    return measured(judged(model, source, recipe, asked, facts), model, source, asked)


def judged(
    model: LatentModel, source: Source, recipe: Recipe, asked: Asked, facts: dict[str, Any] | None = None
) -> Found:
    """Run interventions and judge what they give; the arguments are those of `examine`."""
    seen = not asked.without.issuperset(PARTS)
    result = diagnose(model, source, recipe, asked.interventions, asked.seeds, asked.top_k, seen)
    figures = table(result.baseline, result.conditions)
    absent = {condition.name: condition.reason for condition in result.conditions if not condition.runs}
    return Found(result, figures, verdict(figures, result.has_latents, absent), None, (), facts or {})


def measured(found: Found, model: LatentModel, source: Source, asked: Asked) -> Found:
    """Add the geometry of the latents and the probes, where they are asked for."""
    shape = None if "geometry" in asked.without else _geometry(model, source, found.diagnosis)
    made = () if "probes" in asked.without else tuple(probe(source.records, found.diagnosis.readings))
    return dataclasses.replace(found, geometry=shape, probes=made)


def _geometry(model: LatentModel, source: Source, result: Diagnosis) -> Geometry:
    """Figures of the latents, with the distance to targets where there are as many targets as latents."""
    latents = result.latents()
    try:
        regions = [torch.cat(spans) for spans in region_latents(model, result.prompts, source.records)]
    except NotApplicable:
        regions = []
    targets = [
        target if target.shape == own.shape else None for target, own in zip(regions, latents, strict=False)
    ]
    return geometry(latents, model.backbone.embedding_weight, targets or None, result.readings)


def write_results(found: Found, folder: Path) -> None:
    """Write `predictions.jsonl` (a line per condition, seed and record) and `results.json`.

    Args:
        found: what to write.
        folder: made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = _lines(
        BASELINE, None, found.diagnosis.baseline.predictions, found.diagnosis.baseline.probabilities
    )
    for condition in found.diagnosis.conditions:
        for seed, run in enumerate(condition.runs):
            drawn = seed if len(condition.runs) > 1 else None
            lines += _lines(condition.name, drawn, run.predictions, run.probabilities)
    replace_text(folder / "predictions.jsonl", "".join(f"{line}\n" for line in lines))
    replace_text(folder / "results.json", json.dumps(_results(found), indent=2, allow_nan=False) + "\n")


def _lines(
    name: str, seed: int | None, predictions: Sequence[Prediction], probabilities: Sequence[float]
) -> list[str]:
    drawn = {} if seed is None else {"seed": seed}
    return [
        json.dumps(
            {"condition": name, **drawn, **made.to_json(), "probability": probability}, ensure_ascii=False
        )
        for made, probability in zip(predictions, probabilities, strict=True)
    ]


def _results(found: Found) -> dict[str, Any]:
    """Facts, verdict and figures as JSON values."""
    conditions: dict[str, Any] = {
        name: {**dataclasses.asdict(made), "accuracy": made.accuracy} for name, made in found.figures.items()
    }
    shape = found.geometry
    for condition in found.diagnosis.conditions:
        if not condition.runs:
            conditions[condition.name] = {"name": condition.name, "does_not_apply": condition.reason}
    return {
        **found.facts,
        "with_latents": found.diagnosis.with_latents,
        "verdict": {**dataclasses.asdict(found.verdict), "rule": RULE},
        "conditions": conditions,
        "geometry": None if shape is None else {**dataclasses.asdict(shape), "norm_ratio": shape.norm_ratio},
        "probes": [{**dataclasses.asdict(made), "selectivity": made.selectivity} for made in found.probes],
    }
