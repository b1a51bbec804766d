"""A model that opens spans, and rows of its head that write a marker exactly where they are told to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.loop import generate
from latentvr.decoding.rollout import Rollout
from latentvr.reasoners.base import Stage


class Spans:
    """A model with latent spans, and prompts that end with their start marker."""

    def __init__(self, lab: Any, family: str, **options: Any) -> None:
        self.model = lab.model(family, "lvr", untied=True, **options)
        self.span = self.model.reasoner.span()
        self.ids = self.model.token_ids
        self.slot = self.ids[self.span.slot]
        self.closing = [self.ids[text] for text in self.span.end]
        records = list(lab.records.values())[:2]
        self.batch = lab.collated(lab.prompts(self.model, records, [self.span.start]))
        with torch.no_grad():
            self.model.rows.head_rows.zero_()  # no marker is written unless `write_at` says so

    def write(self, **settings: Any) -> list[Rollout]:
        """Answers; `watch` and the like go to the loop, everything else is a setting of decoding."""
        named = {key: settings.pop(key) for key in ("rollouts", "feed", "ends", "watch") if key in settings}
        decode = DecodeConfig(**{"max_new_tokens": 12, "latent_steps": 3, **settings})
        return generate(self.model, self.batch, Stage("test", CAUSAL), decode, **named)

    def states(self, **settings: Any) -> Tensor:
        """Hidden states (forwards, B, D) of a call."""
        seen: list[Tensor] = []
        self.write(watch=lambda *forward: seen.append(forward[1].clone()), **settings)
        return torch.stack(seen)

    @torch.no_grad()
    def write_at(self, text: str, states_ND: Tensor, wanted: list[bool]) -> None:
        """Set a marker's row of the head: a logit of 60 at the states that are wanted, -60 at the others."""
        rows = self.model.rows
        written = rows.get_buffer("ids")[rows.get_buffer("written")].tolist()
        logits = torch.where(torch.tensor(wanted), 60.0, -60.0).double()
        row = torch.linalg.pinv(states_ND.double()) @ logits
        rows.head_rows[written.index(self.ids[text])] = row.float()


@pytest.fixture
def spans(lab: Any, family: str) -> Any:
    """Makes a `Spans` with options of the method."""
    return lambda **options: Spans(lab, family, **options)
