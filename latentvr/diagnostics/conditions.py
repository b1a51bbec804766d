"""From interventions to ways to run the model, or to the reason why one does not apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, Visibility, preset
from latentvr.config.schema import Recipe
from latentvr.diagnostics import replacements as put
from latentvr.diagnostics.baseline import Baseline
from latentvr.diagnostics.interventions import IDENTITY, Intervention
from latentvr.diagnostics.recorded import Given, NotApplicable, Recorded
from latentvr.diagnostics.regions import elsewhere, region_latents
from latentvr.diagnostics.ways import Way
from latentvr.evaluation.extract import expected_answer
from latentvr.evaluation.prompts import Prompts, encoder_for
from latentvr.models.latent_model import LatentModel


@dataclass(frozen=True)
class Group:
    """Conditions that share prompts and visibility, and so the beginnings of prompts."""

    prompts: Prompts
    visibility: Visibility
    ways: list[Way]


@dataclass
class Planned:
    """What is to be run.

    Attributes:
        groups: the conditions.
        reasons: why others do not apply, by name.
        has_latents: whether the method has latents.
    """

    groups: list[Group] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    has_latents: bool = False

    def add(self, prompts: Prompts, visibility: Visibility, way: Way) -> None:
        """Put a condition with those that share its prompts and visibility."""
        for group in self.groups:
            if group.prompts is prompts and group.visibility == visibility:
                group.ways.append(way)
                return
        self.groups.append(Group(prompts, visibility, [way]))


def plan(
    model: LatentModel,
    prompts: Prompts,
    recipe: Recipe,
    made: Baseline,
    interventions: Sequence[Intervention],
    seeds: int,
    top_k: int,
) -> Planned:
    """Say how each intervention is run, the identity control excepted.

    Args:
        model: any method.
        prompts: whole ones, used and kept.
        recipe: visibility at test, longest sample.
        made: by the baseline.
        interventions: those that are asked for.
        seeds: runs of those that draw.
        top_k: slots that `top_k` takes.

    Returns:
        The conditions, and reasons for those that do not apply.
    """
    planner = _Planner(model, prompts, recipe, made, top_k)
    for intervention in interventions:
        if intervention.name == IDENTITY:
            continue
        try:
            for seed in range(seeds if intervention.drawn else 1):
                planner.add(intervention.name, seed)
        except NotApplicable as reason:
            planner.planned.reasons[intervention.name] = str(reason)
    return planner.planned


class _Planner:
    """Knows what applies to a model and its records."""

    def __init__(
        self, model: LatentModel, prompts: Prompts, recipe: Recipe, made: Baseline, top_k: int
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.recipe = recipe
        self.made = made
        self.top_k = top_k
        self.records = prompts.source.records
        self.visibility = preset(recipe.decode.visibility)
        self.spans = model.reasoner.span() is not None
        self.planned = Planned(has_latents=self.spans or any(made.latents.values()))
        self._recorded: Recorded | None = None
        self._without: dict[bool, Prompts] = {}
        self._removals: dict[str, Callable[[], None]] = {
            "markers_only": self._markers_only,
            "drop": self._drop,
            "bottleneck": self._bottleneck,
            "bottleneck_drop": self._bottleneck_drop,
        }

    def add(self, name: str, seed: int) -> None:
        """Plan one run of an intervention; `NotApplicable` where there is none."""
        if not self.planned.has_latents and name != "bottleneck":
            raise NotApplicable("the method has no latents")
        if name in self._removals:
            self._removals[name]()
        else:
            way = Way(name, self._given(name, seed), own=self.made.written)
            self.planned.add(self.prompts, self.visibility, way)

    def recorded(self) -> Recorded:
        """The baseline's latents."""
        if self._recorded is None:
            places = range(len(self.records))
            self._recorded = Recorded(
                [self.made.latents[i] for i in places],
                [expected_answer(record) for record in self.records],
                [record.task for record in self.records],
            )
        return self._recorded

    def _given(self, name: str, seed: int) -> Given:
        """What takes the place of the latents."""
        makers: dict[str, Callable[[], Given]] = {
            "zeros": lambda: put.zeros(self.recorded()),
            "mean": lambda: put.mean(self.recorded()),
            "noise_matched": lambda: put.noise_matched(self.recorded(), seed),
            "noise_norm": lambda: put.noise_norm(self.recorded(), seed),
            "swap": lambda: put.swap(self.recorded(), seed, same_count=not self.spans),
            "first_repeat": lambda: put.first_repeat(self.recorded()),
            "blank_image": self._blank,
            "oracle": lambda: region_latents(self.model, self.prompts, self.records).__getitem__,
            "random_box": lambda: self._random_box(seed),
            "top_k": lambda: put.top_k(self.recorded(), self._attention(), self.top_k),
        }
        self.recorded()  # without latents in any answer nothing can be replaced
        return makers[name]()

    def _blank(self) -> Given:
        if not any(record.images for record in self.records):
            raise NotApplicable("no record has an image")
        return self.made.blank.__getitem__

    def _random_box(self, seed: int) -> Given:
        if not all(record.bboxes for record in self.records):
            raise NotApplicable("not every record has regions")
        moved = [elsewhere(self.prompts, place, seed) for place in range(len(self.records))]
        return region_latents(self.model, self.prompts, moved).__getitem__

    def _attention(self) -> list[Tensor]:
        """From the answer to each latent of a record; end vectors are no latents."""
        out = []
        for place in range(len(self.records)):
            slots_K = self.made.readings[place].slots_K
            row, span = self.made.written[place], self.model.reasoner.span()
            if span is not None:
                token = self.model.token_ids[span.slot]
                fed = [i for i, slot in zip(row.ids, row.slot, strict=True) if slot]
                slots_K = slots_K[[i for i, own in enumerate(fed) if own == token]]
            out.append(slots_K)
        return out

    def _prompts_without(self, markers: bool) -> Prompts:
        """Prompts without latents, and without the method's other tokens too."""
        if self.spans:
            return self.prompts
        if markers not in self._without:
            encoder = encoder_for(
                self.model, self.recipe.data.max_length, drop_latents=True, drop_markers=markers
            )
            source = self.prompts.source
            self._without[markers] = Prompts(self.model, source, encoder, keep=True, lender=self.prompts)
        return self._without[markers]

    def _markers_only(self) -> None:
        if self.spans:
            empty = [self.made.written[0].fed[:0]]
            way = Way("markers_only", lambda _: empty, own=self.made.written)
            self.planned.add(self.prompts, self.visibility, way)
            return
        if all(token.role is Role.LATENT and token.slot for token in self.model.reasoner.tokens()):
            raise NotApplicable("the method has no markers beside its latent slots")
        self.planned.add(self._prompts_without(markers=False), self.visibility, Way("markers_only"))

    def _drop(self) -> None:
        way = Way("drop", spans=False, own=self.made.written)
        self.planned.add(self._prompts_without(markers=True), self.visibility, way)

    def _bottleneck(self) -> None:
        if self.visibility == BOTTLENECK:
            raise NotApplicable("answers are written under it already: it is the baseline")
        self.planned.add(self.prompts, BOTTLENECK, Way("bottleneck"))

    def _bottleneck_drop(self) -> None:
        if self.visibility == BOTTLENECK:
            raise NotApplicable("answers are written under the bottleneck already: it is drop")
        way = Way("bottleneck_drop", spans=False)
        self.planned.add(self._prompts_without(markers=True), BOTTLENECK, way)
