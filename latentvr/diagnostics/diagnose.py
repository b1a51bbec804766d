"""Run interventions on a model and a source of records.

The baseline comes first, and beside it the identity control, which has to give the same bits. What the
baseline recorded is what all other interventions change.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentvr.attention.visibility import preset
from latentvr.config.schema import Recipe
from latentvr.data.record import Source
from latentvr.decoding.rollout import Rollout
from latentvr.diagnostics.baseline import run_baseline
from latentvr.diagnostics.conditions import Planned, plan
from latentvr.diagnostics.interventions import IDENTITY, Intervention
from latentvr.diagnostics.outcome import Condition, Outcome
from latentvr.diagnostics.reading import Reading
from latentvr.diagnostics.ways import Runner
from latentvr.errors import RecipeError
from latentvr.evaluation.prompts import Prompts, encoder_for
from latentvr.models.latent_model import LatentModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Diagnosis:
    """What was found, by record in the order of the source.

    Attributes:
        baseline: the model as it is.
        conditions: the interventions, in the order of their table.
        written: the baseline's rollouts.
        readings: attention and states; empty where nobody asked.
        has_latents: whether the method has any.
        prompts: whole ones, with the features of all images.
    """

    baseline: Outcome
    conditions: tuple[Condition, ...]
    written: tuple[Rollout, ...]
    readings: tuple[Reading, ...]
    has_latents: bool
    prompts: Prompts

    @property
    def with_latents(self) -> int:
        """Number of records with latents, in the prompt or in the baseline's answer."""
        return sum(len(own) > 0 for own in self.latents())

    def latents(self) -> list[Tensor]:
        """Latents of each record (n, D): those fed in its answer, or final states at the prompt's slots."""
        return [torch.cat([row.prompt_latents, *row.spans]) for row in self.written]


@torch.no_grad()
def diagnose(
    model: LatentModel,
    source: Source,
    recipe: Recipe,
    interventions: Sequence[Intervention],
    seeds: int = 3,
    top_k: int = 1,
    readings: bool = True,
) -> Diagnosis:
    """Answer all records under interventions.

    Args:
        model: any method.
        source: records and images; features of all images are kept in memory.
        recipe: how answers are written, batch size, longest sample.
        interventions: from `chosen`.
        seeds: runs of interventions that draw at random.
        top_k: number of slots that `top_k` takes.
        readings: also read attention and states.

    Returns:
        Outcomes, rollouts and readings.

    Raises:
        RecipeError: the recipe draws its answers at random.
        LatentVRError: the identity control does not give the baseline's bits, or a given latent did not
            stand at its slot.
    """
    if recipe.decode.do_sample:
        raise RecipeError(
            "expected greedy answers, got decode.do_sample=true, at the interventions, where chance would "
            "stand between the answers of a pair; fix: set decode.do_sample=false"
        )
    model.eval()
    count = len(source.records)
    log.info("diagnosis: baseline and identity, %d records", count)
    names = {intervention.name for intervention in interventions}
    encoder = encoder_for(model, recipe.data.max_length)
    prompts = Prompts(model, source, encoder, keep=True)
    runner = Runner(model, encoder, recipe.decode, recipe.eval.batch_size)
    made = run_baseline(
        runner,
        prompts,
        preset(recipe.decode.visibility),
        blank="blank_image" in names,
        readings=readings or "top_k" in names,
    )
    planned = plan(model, prompts, recipe, made, interventions, seeds, top_k)
    for group in planned.groups:
        names_here = ", ".join(dict.fromkeys(way.name for way in group.ways))
        runs, seen = len(group.ways), group.visibility.name
        log.info("diagnosis: %d runs, %d records, %s: %s", runs, count, seen, names_here)
        runner.run(group.prompts, group.visibility, group.ways)
    places = range(count)
    return Diagnosis(
        made.way.outcome(),
        (Condition(IDENTITY, (made.identity.outcome(),)), *_conditions(planned, interventions)),
        tuple(made.written[i] for i in places),
        tuple(made.readings[i] for i in places) if readings else (),
        planned.has_latents,
        prompts,
    )


def _conditions(planned: Planned, interventions: Sequence[Intervention]) -> list[Condition]:
    """Outcomes by intervention, or the reason why there are none."""
    ways = [way for group in planned.groups for way in group.ways]
    return [
        Condition(
            asked.name,
            tuple(way.outcome() for way in ways if way.name == asked.name),
            planned.reasons.get(asked.name, ""),
        )
        for asked in interventions
        if asked.name != IDENTITY
    ]
