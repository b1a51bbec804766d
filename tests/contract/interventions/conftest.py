"""A model of each method and its records, answered as they are and under conditions.

Four prompts of unlike lengths in one batch; where the method has spans, the head is made to open one at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from PIL import ImageOps
from torch import Tensor

from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.config.schema import DecodeConfig, EvalConfig, Recipe
from latentvr.data.encode import IGNORED
from latentvr.decoding.loop import generate
from latentvr.diagnostics.baseline import run_baseline
from latentvr.diagnostics.conditions import plan
from latentvr.diagnostics.interventions import chosen
from latentvr.diagnostics.recorded import Latents
from latentvr.diagnostics.teacher import completed
from latentvr.diagnostics.ways import Part, Runner, Way
from latentvr.evaluation.prompts import Prompts, encoder_for
from latentvr.models.layer_inputs import layer_inputs
from latentvr.reasoners.base import Stage

STEPS = 3
#: Between two ways to compute a log-probability.
NEAR = 1e-4


class Source:
    """The records of the lab, perhaps with the colours of their images turned round."""

    def __init__(self, lab: Any, inverted: bool = False) -> None:
        self._lab = lab
        self._inverted = inverted
        self.records = tuple(lab.records.values())

    def images(self, record: Any) -> list[Any]:
        images = self._lab.images(record)
        return [ImageOps.invert(image) for image in images] if self._inverted else images

    def where(self, record: Any) -> str:
        return str(record.id)


@dataclass(frozen=True)
class Step:
    """One condition on one batch."""

    part: Part
    way: Way
    whole: dict[str, Any]
    inputs: list[list[Tensor]]  # of each layer, of each forward pass


@dataclass
class Bench:
    """A model and its records, answered as they are."""

    lab: Any
    model: Any
    visibility: Visibility = CAUSAL
    cache: str = "dynamic"
    size: int = 4
    inverted: bool = False
    way: Way = field(default_factory=lambda: Way("baseline", keep=True))

    def __post_init__(self) -> None:
        self.recipe = Recipe(
            decode=DecodeConfig(max_new_tokens=10, latent_steps=STEPS, cache=self.cache),  # type: ignore[arg-type]
            eval=EvalConfig(batch_size=self.size),
        )
        encoder = encoder_for(self.model)
        self.prompts = Prompts(self.model, Source(self.lab, self.inverted), encoder, keep=True)
        self.runner = Runner(self.model, encoder, self.recipe.decode, self.size)
        self.parts = list(self.runner.parts(self.prompts, self.visibility))
        assert all(part.prefix.stage.visibility == self.visibility for part in self.parts)
        self.baseline = [self.step(part, self.way) for part in self.parts]
        self._planned: dict[str, list[Step]] = {}

    @property
    def in_prompts(self) -> bool:
        """Whether latents stand in prompts."""
        return self.model.reasoner.span() is None

    def step(self, part: Part, way: Way) -> Step:
        """Run a condition, and see what goes into the layers, behind all other hooks."""
        layers = self.model.backbone.language_model.layers
        seen: list[list[Tensor]] = [[] for _ in layers]
        handles = [
            layer.input_layernorm.register_forward_pre_hook(
                lambda _, inputs, at=at: at.append(inputs[0].clone())
            )
            for layer, at in zip(layers, seen, strict=True)
        ]
        _, turns = self.runner.step(part, way)
        for handle in handles:
            handle.remove()
        return Step(part, way, completed(self.model, part.batch, turns), seen)

    def run(self, name: str, latents: Callable[[int], Latents]) -> list[Step]:
        """One condition over all records."""
        way = Way(name, latents, keep=True, own=self.way.written)
        return [self.step(part, way) for part in self.parts]

    def planned(self, names: Sequence[str] = ()) -> dict[str, list[Step]]:
        """Run conditions as a diagnosis does; once."""
        if not self._planned:
            made = run_baseline(self.runner, self.prompts, self.visibility, blank=True, readings=True)
            found = plan(self.model, self.prompts, self.recipe, made, chosen(names), seeds=1, top_k=1)
            for group in found.groups:
                parts = list(self.runner.parts(group.prompts, group.visibility))
                for way in group.ways:
                    way.keep = True
                    self._planned[way.name] = [self.step(part, way) for part in parts]
        return self._planned

    def scores(self, step: Step, at: int, ids: list[int], slot: list[bool], fed: Tensor) -> Tensor:
        """Log-probabilities (T, V) of what follows a record's prompt, in one whole forward of it alone."""
        model, sample, latents = self.model, step.part.samples[at], step.way.stood[step.part.places[at]]
        batch = self.lab.collated([self.lab.went_on(model, sample, ids, slot)])
        given = latents[0] if self.in_prompts and latents else None
        with torch.no_grad(), layer_inputs(model, model.slot_mask(batch) & self.in_prompts, given):
            features, stage = model.features(batch), step.part.prefix.stage
            hidden_SD = model.hidden(batch, features, stage, slots=fed if len(fed) else None)[0]
            logits = model.logits(hidden_SD[len(sample.ids) - 1 : -1])
        if not step.way.spans and not self.in_prompts:
            span = model.reasoner.span()
            logits[:, [model.token_ids[text] for text in (span.start, *span.end)]] = float("-inf")
        return logits.log_softmax(-1)

    def require_alone(self, step: Step) -> None:
        """A shared prefix, a cache, padding and neighbours give what one whole forward without them gives."""
        whole, recorded = step.whole, step.whole["recorded"]
        slot_BT = self.model.slot_mask(whole) & whole["completion"]
        fed = recorded.split(slot_BT.sum(1).tolist())
        for at, place in enumerate(step.part.places):
            row = step.way.written[place]
            scores = self.scores(step, at, row.ids, row.slot, row.fed)
            found = [float(scores[i, token]) if mine else 0.0
                     for i, (token, mine) in enumerate(zip(row.ids, row.sampled, strict=True))]  # fmt: skip
            assert row.log_probs == pytest.approx(found, abs=NEAR, rel=5e-5)  # one of -5 has coarser digits
            there = whole["completion"][at]
            ids, labels = whole["input_ids"][at][there].tolist(), whole["labels"][at][there]
            scores = self.scores(step, at, ids, slot_BT[at][there].tolist(), fed[at])
            asked = (labels != IGNORED).nonzero()[:, 0]
            assert len(asked) > 0
            assert math.log(step.way.probabilities[place]) == pytest.approx(
                float(scores[asked, labels[asked]].sum()), abs=NEAR
            )


@torch.no_grad()
def _open_at_once(bench: Bench) -> None:
    """Make the start marker the likeliest token where prompts end, whether they see the image or not.

    Its row of the head is the smallest one with a high logit there, and with a low one at states at which the
    marker was written again; the first record may do so.
    """
    model, rows = bench.model, bench.model.rows
    tied = rows.head_rows is None
    ids, matrix = (rows.ids, rows.rows) if tied else (rows.written_ids, rows.head_rows)
    token = model.token_ids[model.reasoner.span().start]
    ends: list[Tensor] = []
    wrong: list[Tensor] = []
    for _ in range(6):
        for visibility in (CAUSAL, BOTTLENECK):
            for part in bench.parts:
                seen: list[Tensor] = []
                stage = Stage("s", visibility)
                written = generate(
                    model, part.batch, stage, bench.recipe.decode,
                    watch=lambda *step, seen=seen: seen.append(step[1].clone()),
                )  # fmt: skip
                ends += [] if len(ends) >= 2 * len(bench.way.written) else list(seen[0])
                again = [[one == token and mine for one, mine in zip(row.ids, row.sampled, strict=True)]
                         for row in written]  # fmt: skip
                wrong += [seen[i][at] for at, which in enumerate(again) if part.places[at]
                          for i, it_is in enumerate(which) if i and it_is]  # fmt: skip
        wanted = torch.tensor([60.0] * len(ends) + [-60.0] * len(wrong))
        matrix[ids.tolist().index(token)] = torch.linalg.pinv(torch.stack(ends + wrong)) @ wanted


@pytest.fixture(scope="module")
def latent_model(lab: Any, shared_latent_model: Any) -> Any:
    """With a head that opens a span at the end of prompts, where the method has spans."""
    config = shared_latent_model.reasoner.config
    if getattr(config, "target", "") == "crop" or getattr(config, "hide_region", False):
        pytest.skip("its options concern training alone")
    if shared_latent_model.reasoner.span() is not None:
        _open_at_once(Bench(lab, shared_latent_model))
    return shared_latent_model


@pytest.fixture(scope="module", params=["causal", "bottleneck"])
def bench(request: pytest.FixtureRequest, lab: Any, latent_model: Any) -> Bench:
    """The tests leave it as it is."""
    if request.param == "causal":
        return Bench(lab, latent_model)
    if "head" in latent_model.extra or getattr(latent_model.reasoner.config, "shared", False):
        pytest.skip("how latents are made of states is no matter of who sees whom")
    return Bench(lab, latent_model, BOTTLENECK, "static")
