"""The page of a diagnosis: verdict, figures, bars, geometry, probes, projections, overlays and samples."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from latentvr.attention.visibility import preset
from latentvr.config.schema import Recipe
from latentvr.data.record import Source
from latentvr.diagnostics import geometry as shape
from latentvr.diagnostics.figures import BASELINE, Figures, said
from latentvr.diagnostics.interventions import IDENTITY, INTERVENTIONS
from latentvr.diagnostics.outcome import Outcome
from latentvr.diagnostics.overlays import overlay_maps
from latentvr.diagnostics.probes import Probe
from latentvr.diagnostics.projection import projections
from latentvr.diagnostics.verdict import RULE
from latentvr.evaluation.bars import Bar, BarChart
from latentvr.evaluation.extract import expected_answer
from latentvr.evaluation.metrics import wilson
from latentvr.evaluation.overlay_grid import OverlayGrid, layer_grids, photograph
from latentvr.evaluation.paired import p_cell, points
from latentvr.evaluation.report import Card, CardAnswer, Report, ReportTable, VerdictBox
from latentvr.evaluation.scatter import Scatter
from latentvr.models.latent_model import LatentModel
from latentvr.runs.diagnosis import Found
from latentvr.runs.examples import spread
from latentvr.runs.folder import versions
from latentvr.runs.sft_curves import curves

#: Records that are shown with their answers, and with overlays.
CARDS, OVERLAYS = 24, 6
TEXTS = {BASELINE: "the model as it is"} | {each.name: each.text for each in INTERVENTIONS}
HEADER = (
    "condition", "accuracy %", "k/N", "difference", "95 % interval",
    "McNemar p", "adjusted p", "P(right) %", "flipped %", "no answer",
)  # fmt: skip
NOTE = (
    "Differences are in points against the baseline, on the same records; their intervals are bootstrapped "
    "over records. McNemar's p is exact; of several seeds the largest is given; adjusted: Holm's correction "
    "over all interventions that apply, run or not. P(right): mean probability of the tokens that write "
    "the right answer, under teacher forcing, behind the latents of the condition. Flipped: answers that "
    "differ from the baseline's. k/N counts every seed of the conditions that draw at random."
)
PROBE_NOTE = (
    "Ridge regression on mean states, scored on held-out folds. Selectivity is the score minus that on "
    "shuffled labels: what a probe could learn from noise is no knowledge of the model. Prompt: the prompt's "
    "text, also what stands behind latents in it; middle and last: depth in the decoder."
)


def diagnosis_report(
    title: str, found: Found, model: LatentModel, source: Source, recipe: Recipe, run: Path | None = None
) -> Report:
    """Lay out the page.

    Args:
        title: names the checkpoint.
        found: what it shows.
        model: draws the overlays.
        source: records and images.
        recipe: visibility at test, longest sample.
        run: folder whose training curves are shown, where there is one.

    Returns:
        The page.
    """
    judged = found.verdict
    return Report(
        title=f"Does it use its latents? {title}",
        verdict=VerdictBox(judged.word, judged.sentence, RULE, judged.reasons),
        tables=(figures_table(found), conditions_table(found)),
        bars=(accuracy_bars(found),),
        charts=curves(run) if run else (),
        measures=_measures(found),
        scatters=_scatters(found, source),
        grids=_grids(found, model, source, recipe),
        cards=_cards(found, source),
        environment=versions(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )


def figures_table(found: Found) -> ReportTable:
    """A row for each condition, those that do not apply among them."""
    body = []
    for name in (BASELINE, *(condition.name for condition in found.diagnosis.conditions)):
        if name in found.figures:
            body.append(cells(found.figures[name]))
        else:
            body.append((name, "does not apply", *[""] * (len(HEADER) - 2)))
    return ReportTable("Answers by condition", HEADER, tuple(body), NOTE)


def conditions_table(found: Found) -> ReportTable:
    """What each condition does, or why it does not apply."""
    reasons = {condition.name: condition.reason for condition in found.diagnosis.conditions}
    body = [(BASELINE, TEXTS[BASELINE])]
    for name, reason in reasons.items():
        body.append((name, f"{TEXTS[name]}; does not apply: {reason}" if reason else TEXTS[name]))
    return ReportTable("What stands for the latents", ("condition", "what it does"), tuple(body), prose=(1,))


def cells(figures: Figures) -> tuple[str, ...]:
    """One condition as texts below `HEADER`."""
    low, high = figures.interval
    against = (
        ("", "", "", "")
        if figures.name == BASELINE
        else (
            points(figures.difference),
            f"{points(low)} to {points(high)}",
            p_cell(figures.p),
            "" if figures.name == IDENTITY else p_cell(figures.adjusted),
        )
    )
    return (
        figures.name,
        f"{100 * figures.accuracy:.1f}",
        f"{figures.correct}/{figures.total}",
        *against,
        f"{100 * figures.probability:.1f}",
        f"{100 * figures.flipped:.1f}",
        str(figures.failed),
    )


def accuracy_bars(found: Found) -> BarChart:
    """Accuracy of each condition, with the interval of its difference laid at the baseline."""
    base = found.figures[BASELINE]
    low, high = wilson(base.correct, base.total)
    bars = [Bar(BASELINE, 100 * base.accuracy, 100 * low, 100 * high)]
    for name, figures in found.figures.items():
        if name != BASELINE:
            ends = [100 * (base.accuracy + end) for end in figures.interval]
            bars.append(Bar(name, 100 * figures.accuracy, ends[0], ends[1]))
    absent = tuple((c.name, c.reason) for c in found.diagnosis.conditions if not c.runs)
    note = (
        "Whiskers: paired 95 % interval of the difference to the baseline, laid at the baseline's accuracy; "
        "of the baseline itself Wilson's interval."
    )
    return BarChart(
        "Accuracy by condition", "accuracy %", tuple(bars), 100 * base.accuracy, limits=(0, 100),
        absent=absent, note=note,
    )  # fmt: skip


def _measures(found: Found) -> tuple[ReportTable, ...]:
    """Geometry and probes."""
    out = []
    if found.geometry is not None:
        rows = tuple(shape.rows(found.geometry))
        out.append(ReportTable("Geometry of the latents", ("figure", "value"), rows, shape.TARGET_NOTE))
    if found.probes:
        out.append(_probes(found))
    return tuple(out)


def _probes(found: Found) -> ReportTable:
    """A row for each probe; a target that could not be probed at all has one for all."""
    header = ("target", "from", "depth", "measure", "score", "shuffled", "selectivity", "records")
    body: list[tuple[str, ...]] = []
    for target in dict.fromkeys(made.target for made in found.probes):
        group = [made for made in found.probes if made.target == target]
        if len({made.reason for made in group}) == 1 and group[0].reason:
            body.append((target, f"not fitted: {group[0].reason}", *[""] * (len(header) - 2)))
        else:
            body += [_probe(made) for made in group]
    return ReportTable("Linear probes", header, tuple(body), PROBE_NOTE, prose=(1,))


def _probe(made: Probe) -> tuple[str, ...]:
    if made.reason:
        return (made.target, f"{made.source}: not fitted: {made.reason}", made.depth, "", "", "", "", "")
    figures = (f"{value:.3f}" for value in (made.score, made.shuffled, made.selectivity))
    return (made.target, made.source, made.depth, made.measure, *figures, str(made.records))


def _scatters(found: Found, source: Source) -> tuple[Scatter, ...]:
    """Latents in the plane, coloured by answer."""
    if not found.probes or not found.diagnosis.has_latents:
        return ()
    labels = [expected_answer(record) for record in source.records]
    return tuple(
        Scatter(made.title, made.points, made.labels, made.note)
        for made in projections(found.diagnosis.latents(), labels)
    )


def _grids(found: Found, model: LatentModel, source: Source, recipe: Recipe) -> tuple[OverlayGrid, ...]:
    """Where latents look, for records spread over the source."""
    if found.geometry is None or not found.diagnosis.has_latents:
        return ()
    places = spread(len(source.records), OVERLAYS)
    maps = overlay_maps(model, found.diagnosis, preset(recipe.decode.visibility), places)
    out: list[OverlayGrid] = []
    for place, own in zip(places, maps, strict=True):
        record = source.records[place]
        boxes = [(box.image, box.box) for box in record.bboxes]
        out += layer_grids(record.id, source.images(record), own, boxes)
    return tuple(out)


def _cards(found: Found, source: Source) -> tuple[Card, ...]:
    """Records with their answers: first those that some condition flips, evenly, then others.

    Of conditions that draw at random the first run is shown, and named so.
    """
    runs = [
        (f"{c.name}, seed 0" if len(c.runs) > 1 else c.name, c.runs[0])
        for c in found.diagnosis.conditions
        if c.runs and c.name != IDENTITY
    ]
    baseline = found.diagnosis.baseline
    flipped: list[int] = []
    steady: list[int] = []
    for place, was in enumerate(baseline.predictions):
        moved = any(said(run.predictions[place]) != said(was) for _, run in runs)
        (flipped if moved else steady).append(place)
    first = [flipped[i] for i in spread(len(flipped), CARDS * 3 // 4)] if flipped else []
    rest = [steady[i] for i in spread(len(steady), CARDS - len(first))] if steady else []
    return tuple(_card(place, source, baseline, runs) for place in sorted(first + rest))


def _card(place: int, source: Source, baseline: Outcome, runs: Sequence[tuple[str, Outcome]]) -> Card:
    record, was = source.records[place], baseline.predictions[place]
    answers = []
    for name, run in ((BASELINE, baseline), *runs):
        made = run.predictions[place]
        correct = None if made.failed else made.correct
        changed = said(made) != said(was)
        answers.append(CardAnswer(name, made.text.strip(), correct, run.probabilities[place], changed))
    pictures = tuple(
        photograph(f"image {i + 1}", image, [box.box for box in record.bboxes if box.image == i])
        for i, image in enumerate(source.images(record))
    )
    return Card(record.id, record.prompt, record.answer, pictures, tuple(answers))
