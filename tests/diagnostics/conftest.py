"""Completions of tiny models, laid out for one forward pass, and what the stock decoder makes of each."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentvr.attention.kernels import prepare
from latentvr.attention.roles import Role
from latentvr.attention.visibility import CAUSAL, Visibility
from latentvr.data.record import Box
from latentvr.decoding.rollout import Rollout
from latentvr.diagnostics.reading import Reading, read
from latentvr.rl.replay import replay_batch

WORDS = [40, 41, 42, 43, 44]
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
BOXES = {
    "one image": [Box(0, LEFT)],
    "two images": [Box(1, (0.3, 0.3, 0.6, 0.9)), Box(1, RIGHT), Box(0, (0.0, 0.0, 0.1, 0.1))],
    "three images": [],
    "text": [],
}


@dataclass
class Round:
    """Completions of one model; each prompt goes in as it is, with words or spans after it."""

    lab: Any
    model: Any
    names: list[str]
    spans: list[list[int]] = field(default_factory=list)  # lengths of the spans of each completion
    records: list[Any] = field(init=False)
    samples: list[Any] = field(init=False)
    rollouts: list[Rollout] = field(init=False)

    def __post_init__(self) -> None:
        records = self.lab.records
        text = replace(records["one image"], id="text", images=(), prompt="how many ?", bboxes=())
        self.records = [text if name == "text" else records[name] for name in self.names]
        self.samples = self.lab.encode(self.model, self.records, answer=False)
        spans = self.spans or [[]] * len(self.names)
        self.rollouts = [self._rollout(lengths, i) for i, lengths in enumerate(spans)]

    def _rollout(self, lengths: list[int], seed: int) -> Rollout:
        """A word, spans with a word after each, and more words; end markers are not chosen."""
        span, token, ids = self.model.reasoner.span(), self.model.token_ids, WORDS[:1]
        for length in lengths:
            ids = [
                *ids,
                token[span.start],
                *[token[span.slot]] * length,
                *(token[end] for end in span.end),
                6,
            ]
        ids = [*ids, *WORDS[: 2 + seed]]
        fillers = [new.text for new in self.model.reasoner.tokens() if new.slot and new.role is Role.LATENT]
        slot = [one in [token[text] for text in fillers] for one in ids]
        forced = [token[end] for end in span.end] if span else []
        sampled = [not fed and one not in forced for one, fed in zip(ids, slot, strict=True)]
        width = self.model.backbone.width
        fed = torch.randn(sum(slot), width, generator=torch.Generator().manual_seed(seed)) * 3
        return Rollout(ids, slot, sampled, [0.0] * len(ids), fed, [], fed[:0], "length")

    def batch(self, *rows: int) -> dict[str, Any]:
        chosen = rows or range(len(self.names))
        samples, rollouts = ([of[i] for i in chosen] for of in (self.samples, self.rollouts))
        return replay_batch(self.model, samples, rollouts)

    def boxes(self, *rows: int) -> list[list[Box]]:
        return [BOXES[self.names[i]] for i in rows or range(len(self.names))]

    def read(self, visibility: Visibility = CAUSAL, *rows: int) -> list[Reading]:
        return read(self.model, self.batch(*rows), visibility, self.boxes(*rows))

    def stock(self, row: int, visibility: Visibility) -> tuple[Tensor, Tensor, Tensor, list[Role], list[int]]:
        """Attentions (layers, H, S, S), middle and last states (S, D), roles and latent slots of one record.

        The middle states are what a decoder without its later layers and its norm gives.
        """
        model, sample, rollout = self.model, self.samples[row], self.rollouts[row]
        whole = self.lab.collated([self.lab.went_on(model, sample, rollout.ids, rollout.slot)])
        features = model.features(whole)
        deep = {}
        if features is not None and len(features) > 1:
            visual = torch.eq(whole["input_ids"], model.image_token_id)
            deep = {"visual_pos_masks": visual, "deepstack_visual_embeds": list(features[1:])}
        decoder = copy.deepcopy(model.backbone.language_model)
        decoder.config._attn_implementation = "eager"
        mask = prepare("mask", visibility, whole["roles"], dtype=torch.float32, eager=True).attention_mask
        inputs = {
            "inputs_embeds": model.embeds(whole, features, rollout.fed if len(rollout.fed) else None),
            "position_ids": model.backbone.rotary_positions(whole["position_ids"]),
            "attention_mask": mask,
            "use_cache": False,
            **deep,
        }
        with torch.no_grad():
            out = decoder(**inputs, output_attentions=True)
            decoder.layers, decoder.norm = decoder.layers[: len(decoder.layers) // 2], nn.Identity()
            middle = decoder(**inputs).last_hidden_state
        roles = [Role(role) for role in whole["roles"][0].tolist()]
        slots = model.slot_mask(whole)[0].nonzero()[:, 0].tolist()
        weights = torch.stack(out.attentions)[:, 0]
        return weights, middle[0], out.last_hidden_state[0], roles, slots


@pytest.fixture
def make_round(lab: Any, family: str) -> Any:
    """Makes a round of a method on records of the lab, by their names."""
    return lambda name, names, spans=(), **options: Round(
        lab, lab.model(family, name, **options), list(names), list(spans)
    )


@pytest.fixture
def of_prompts(make_round: Any) -> Any:
    """Makes a round of latents in prompts."""

    def make(**options: Any) -> Round:
        names = ["one image", "three images", "two images"]
        made: Round = make_round("livr", names, **{"latents": 4, "init_std": 1.0, **options})
        return made

    return make


@pytest.fixture
def of_spans(make_round: Any) -> Any:
    """Makes a round of latents in answers: no span, one, two and, without an image, one."""

    def make(**options: Any) -> Round:
        names = ["two images", "one image", "two images", "text"]
        made: Round = make_round("lvr", names, [[], [3], [2, 4], [2]], **options)
        return made

    return make


@pytest.fixture(params=["prompts", "copies", "spans", "end vector"])
def chosen(request: pytest.FixtureRequest, of_prompts: Any, of_spans: Any) -> Round:
    """One of the rounds of a family."""
    kind = request.param
    if kind in ("spans", "end vector"):
        made: Round = of_spans(**({"layout": "A", "end_vector": True} if kind == "end vector" else {}))
    else:
        made = of_prompts(image_twice=kind == "copies")
    return made
