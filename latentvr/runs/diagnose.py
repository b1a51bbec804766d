"""Find out whether a checkpoint's answers use its latents, and write figures, a verdict and a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentvr.config.memory_keys import for_answers
from latentvr.diagnostics.interventions import chosen
from latentvr.diagnostics.probes import require_sklearn
from latentvr.errors import UserError
from latentvr.evaluation.report import write_report
from latentvr.models.out_of_memory import Work, enough_memory
from latentvr.runs.destination import default_folder, require_free
from latentvr.runs.diagnosis import PARTS, Asked, Found, judged, measured, write_results
from latentvr.runs.diagnosis_report import diagnosis_report
from latentvr.runs.evaluate import describe, model_overrides, opened
from latentvr.runs.folder import run_folder
from latentvr.runs.inference import load_found


def asked_for(interventions: str, seeds: int, top_k: int, without: str) -> Asked:
    """Read what the command line asks for.

    Args:
        interventions: names with commas between them; empty takes all.
        seeds: at least 1.
        top_k: at least 1.
        without: of `PARTS`, with commas between them.

    Returns:
        What is to be done.

    Raises:
        UserError: a name is unknown, or scikit-learn is needed and missing.
    """
    parts = _names(without)
    for part in parts:
        if part not in PARTS:
            raise UserError(
                f"expected {' or '.join(PARTS)}, got {part!r}, at --without; "
                "fix: use these names, with commas between them"
            )
    if "probes" not in parts:
        require_sklearn()
    return Asked(chosen(_names(interventions)), seeds, top_k, frozenset(parts))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def diagnose_checkpoint(
    path: Path,
    overrides: Sequence[str],
    data: Path | None,
    split: str | None,
    asked: Asked,
    out: Path | None,
) -> tuple[Found, Path]:
    """Run interventions on a checkpoint and write what they give.

    Args:
        path: run folder, checkpoint, model folder or hub id.
        overrides: settings on top of the run's own, those that an evaluation can change.
        data: records file in place of the recipe's.
        split: "validation" or "test"; that of the recipe by default.
        asked: what is to be done.
        out: folder for results; `diagnose/SPLIT` in the run folder by default.

    Returns:
        What was found, and the folder with `results.json`, `predictions.jsonl` and `report.html`.

    Raises:
        UserError: checkpoint, settings or data are wrong, or the folder holds other results or cannot be
            written.
        LatentVRError: the identity control does not give the baseline's bits.
    """
    resolved, found, source = opened(path, overrides, data, split)
    recipe = resolved.recipe
    folder = out or default_folder(path, recipe.eval.split, data, "diagnose")
    changed = model_overrides(resolved, overrides)
    facts = {
        **describe("diagnose", path, found, recipe, changed, source),
        "interventions": [intervention.name for intervention in asked.interventions],
        "seeds": asked.seeds,
        "top_k": asked.top_k,
    }
    require_free(folder, facts)
    model = load_found(found, path, recipe.train.device, changed)
    size, longest = recipe.eval.batch_size, recipe.decode.max_new_tokens
    work = Work("diagnosis", f"{min(size, len(source.records))} prompts")
    with enough_memory(work, lambda _: for_answers(size, longest, None)):
        result = judged(model, source, recipe, asked, facts)
        write_results(result, folder)  # before anything else can fail
        result = measured(result, model, source, asked)
    write_results(result, folder)
    report = diagnosis_report(str(path), result, model, source, recipe, run_folder(path))
    write_report(folder / "report.html", report)
    return result, folder
