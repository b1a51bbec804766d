"""LVR (arXiv 2509.24251): hidden states fed back between markers, pulled to a region's visual tokens.

The hidden state after the final norm at position t - 1 predicts what is fed at position t: the start marker
predicts the first latent, the last slot predicts none. In training the true visual tokens are fed (teacher
forcing), in decoding the predictions themselves.

Shape letters: B batch, S sequence, N visual tokens of a batch, D width, F feature levels, L latent positions,
R references of slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentvr.attention.roles import Role
from latentvr.data.layout import Layout, NewToken
from latentvr.data.record import Record
from latentvr.errors import ModelError
from latentvr.reasoners.base import (
    Batch,
    Host,
    LatentReasoner,
    LatentSpan,
    LatentState,
    LatentStep,
    Stage,
    Term,
)
from latentvr.reasoners.lvr import published
from latentvr.reasoners.lvr.config import Config
from latentvr.reasoners.lvr.heads import EndVector, GLUHead, MLPHead, PCAHead, ResidualNoise
from latentvr.reasoners.lvr.layout import END, LATENT_END, SLOT, START, span_layout
from latentvr.reasoners.lvr.losses import distances, region_means


class Reasoner(LatentReasoner):
    """Latent slots in the answer, one for each visual token of a region of interest."""

    #: The published loss is taken over the whole vocabulary.
    suppresses_in_loss: ClassVar[bool] = False
    #: It begins with no shift of the mean.
    begins_anew: ClassVar[frozenset[str]] = frozenset({"noise"})

    @property
    def options(self) -> Config:
        """The method's section of the recipe."""
        return cast(Config, self.config)

    def tokens(self) -> list[NewToken]:
        """The four tokens of the published checkpoints, in their order, whichever the layout."""
        learned = self.options.end_vector
        ordinary = self.options.layout == "A" and not learned
        return [
            # What predicts the first latent sees what latents see.
            NewToken(START, role=Role.LATENT, sampled=True, slot=False),
            NewToken(SLOT),
            NewToken(LATENT_END, role=Role.LATENT if learned else None, sampled=ordinary),
            NewToken(END, role=None, sampled=True),
        ]

    def modules(self, hidden_size: int) -> dict[str, nn.Module]:
        """The head, the end vector and the noise, where the options ask for them."""
        options = self.options
        parts: dict[str, nn.Module] = {}
        if options.head == "mlp":
            parts["head"] = MLPHead(hidden_size)
        elif options.head == "glu":
            parts["head"] = GLUHead(hidden_size, options.head_width or 3 * hidden_size)
        elif options.head == "pca":
            parts["head"] = PCAHead(hidden_size, options.pca_components)
        if options.end_vector:
            parts["end"] = EndVector(hidden_size)
        if options.noise is not None:
            parts["noise"] = ResidualNoise(hidden_size, options.noise)
        self.head: nn.Module | None = parts.get("head")
        self.end = cast("EndVector | None", parts.get("end"))
        self.noise = cast("ResidualNoise | None", parts.get("noise"))
        return parts

    def begin(self) -> None:
        """Read the PCA basis."""
        if isinstance(self.head, PCAHead):
            self.head.read(self.options.pca_basis or "")

    def layout(self, record: Record) -> Layout:
        """Images and question; then each region's slots between their markers, and the answer."""
        return span_layout(record, self.options)

    def latent_inputs(self, hidden: Tensor) -> Tensor:
        """Apply the head and the learned shift, at decoding exactly where training applies them."""
        latents = hidden if self.head is None else cast(Tensor, self.head(hidden))
        return latents if self.noise is None else latents + self.noise(hidden)

    def latent_deviations(self, hidden: Tensor) -> Tensor | None:
        """Standard deviations of the learned noise."""
        return None if self.noise is None else self.noise.deviations(hidden)

    def slot_inputs(self, batch: Batch, features_FND: Tensor | None, stage: Stage) -> Tensor | None:
        """Feed the true visual tokens (section 3.2), and the end vector at its token."""
        del stage
        ids = batch["input_ids"]
        slots = torch.eq(ids, self._id(SLOT))
        if self.end is not None:
            slots |= torch.eq(ids, self._id(LATENT_END))
        ids_L = ids[slots]
        if not len(ids_L):
            return None
        at_end_L1 = torch.eq(ids_L, self._id(LATENT_END)).unsqueeze(-1)
        means = region_means(batch, features_FND, int((~at_end_L1).sum()))
        if self.end is None:
            return means
        vector = self.end.vector.to(means.dtype).expand(len(ids_L), -1)
        return vector.masked_scatter(~at_end_L1, means)

    def own_share(self, stage: Stage) -> float:
        """The share of own predictions, which `mixed` moves evenly through the stage."""
        options = self.options
        if options.slot_inputs != "mixed":
            return float(options.slot_inputs == "own")
        return options.own_first + (options.own_last - options.own_first) * stage.progress

    def losses(
        self, hidden_BSD: Tensor, batch: Batch, features_FND: Tensor | None, stage: Stage
    ) -> dict[str, Term]:
        """Distance to the region's tokens (equation 3), to the end vector, and the end marker's logit."""
        del stage
        options, next_ids = self.options, batch["input_ids"][:, 1:]
        before_slot = torch.eq(next_ids, self._id(SLOT))
        predicted = self.latent_inputs(hidden_BSD[:, :-1][before_slot])
        targets = region_means(batch, features_FND, len(predicted)).detach()
        apart = distances(predicted, targets, options.loss) if len(predicted) else predicted.sum(-1)
        terms = {"lvr": Term(apart.sum(), options.weight)}
        if self.end is not None:
            before_end = torch.eq(next_ids, self._id(LATENT_END))
            reached = self.latent_inputs(hidden_BSD[:, :-1][before_end])
            terms["lvr_end"] = Term(distances(reached, self.end.vector, "mse").sum(), options.end_weight)
        if options.switch_loss:
            terms["lvr_switch"] = Term(self._switch(hidden_BSD[:, :-1], batch), options.switch_weight)
        return terms

    def loss_counts(self, batch: Batch) -> dict[str, Tensor]:
        """Numbers of slots, of end vectors, and of logits of the end marker."""
        next_ids = batch["input_ids"][:, 1:]
        counts = {"lvr": torch.eq(next_ids, self._id(SLOT)).sum()}
        if self.end is not None:
            counts["lvr_end"] = torch.eq(next_ids, self._id(LATENT_END)).sum()
        if self.options.switch_loss:
            counts["lvr_switch"] = self._inside(batch).sum()
        return counts

    def _inside(self, batch: Batch) -> Tensor:
        """Positions (B, S - 1) of start markers and slots."""
        ids = batch["input_ids"][:, :-1]
        return torch.eq(ids, self._id(START)) | torch.eq(ids, self._id(SLOT))

    def _switch(self, before_BSD: Tensor, batch: Batch) -> Tensor:
        """Binary cross-entropy of the end marker's logit; before a slot that of the latent, as published."""
        inside = self._inside(batch)
        next_ids = batch["input_ids"][:, 1:][inside]
        hidden = before_BSD[inside]
        slot_next = torch.eq(next_ids, self._id(SLOT)).unsqueeze(-1)
        states = torch.where(slot_next, self.latent_inputs(hidden), hidden)
        logits = cast(Host, self.host).logits(states, suppress=False)[:, self._id(END)]
        wanted = torch.eq(next_ids, self._id(END)).float()
        return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")

    def span(self) -> LatentSpan:
        """The markers and the slot token of the layout."""
        return LatentSpan(START, SLOT, (LATENT_END, END) if self.options.layout == "A" else (END,))

    def latent_step(self, state: LatentState) -> LatentStep:
        """Leave after a fixed number of steps, near the end vector, or at the end marker (section 3.4)."""
        step, decode = super().latent_step(state), state.decode
        if decode.exit == "switch_token":
            closes_B = torch.eq(state.choice_B, self._id(self.span().end[0]))
            step = step._replace(leave_B=step.leave_B | closes_B)
        if decode.exit == "end_vector" or (self.end is not None and decode.force_end):
            return self._ended(step, state)
        return step

    def published_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Translate the names of the authors' checkpoints."""
        return published.modules_of(tensors)

    def _ended(self, step: LatentStep, state: LatentState) -> LatentStep:
        """Feed the end vector where latents are near it or have come to their limit, and leave after it."""
        if self.end is None:
            raise ModelError(
                "expected a model with an end vector for decode.exit=end_vector, got one without; "
                "fix: set decode.exit=steps, or train with reasoner.end_vector=true"
            )
        vector = self.end.vector.to(step.inputs_BD.dtype)
        over_B = step.leave_B
        if state.decode.exit == "end_vector":
            apart_B = distances(step.inputs_BD, vector, state.decode.end_distance)
            over_B = over_B | (apart_B < state.decode.end_threshold)
        inputs_BD = torch.where(over_B.unsqueeze(-1), vector, step.inputs_BD)
        ids_B = torch.where(over_B, self._id(LATENT_END), self._id(SLOT))
        return LatentStep(inputs_BD, torch.eq(state.last_B, self._id(LATENT_END)), ids_B)

    def _id(self, text: str) -> int:
        return cast(Host, self.host).token_ids[text]
