"""`LatentReasoner`: what a latent-reasoning method has to answer, and nothing else.

A method is a folder with `config.py` (a dataclass `Config` and a function `default_stages`, free of torch)
and `reasoner.py` (a class `Reasoner`). It says which tokens are new, where they go, which role sees which in
which stage, what is fed at latent slots and which extra losses there are. Everything else (templates, masks,
kernels, trainers, checkpoints, decoding) asks these questions and never the method's name.

Shape letters: B batch, S sequence, N visual tokens of a batch, D width, F feature levels, L latent positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility
from latentvr.config.schema import DecodeConfig, ReasonerConfig
from latentvr.data.layout import Layout, NewToken, plain_layout
from latentvr.data.record import Record


@dataclass(frozen=True)
class Stage:
    """A phase of training, as the model and the losses see it.

    Attributes:
        name: as in the recipe.
        visibility: which role sees which.
        progress: share of the stage's optimiser steps that are done, from 0 to 1.
    """

    name: str
    visibility: Visibility
    progress: float = 0.0


class Term(NamedTuple):
    """A loss term before averaging.

    Attributes:
        total: sum over the items of a batch, a scalar tensor with gradient.
        weight: weight in the total loss.
    """

    total: Tensor
    weight: float = 1.0


Batch = Mapping[str, Any]


def sample_numbers(batch: Batch) -> Tensor:
    """Tell the samples of a batch apart; a row holds several of them where it is packed.

    Args:
        batch: from `collate`.

    Returns:
        Number of the sample at each token, from 0 in row-major order, -1 at padding (B, S).
    """
    roles_BS: Tensor = batch["roles"]
    inside_BS = batch.get("documents", torch.zeros_like(roles_BS, dtype=torch.long))
    counts_B = inside_BS.amax(1) + 1
    first_B1 = (counts_B.cumsum(0) - counts_B).unsqueeze(1)
    return torch.where(roles_BS == int(Role.PAD), -1, inside_BS + first_B1)


@dataclass(frozen=True)
class LatentSpan:
    """A stretch of an answer in which hidden states are fed back instead of embeddings.

    Attributes:
        start: the token that opens it, written by the model.
        slot: the token that stands in its slots.
        end: the tokens that close it, one after another.
    """

    start: str
    slot: str
    end: tuple[str, ...]


@dataclass(frozen=True)
class LatentState:
    """What decoding knows at a step in which some row is in latent mode.

    Attributes:
        hidden_BD: hidden states after the final norm, at the last position of each row.
        inside_B: rows in latent mode; the others are of no concern.
        steps_B: latent inputs that each row has been fed in its present span.
        choice_B: token that the head would write next.
        last_B: token at the last position.
        decode: settings of generation.
    """

    hidden_BD: Tensor
    inside_B: Tensor
    steps_B: Tensor
    choice_B: Tensor
    last_B: Tensor
    decode: DecodeConfig


class LatentStep(NamedTuple):
    """A method's answer to a `LatentState`.

    Attributes:
        inputs_BD: what rows in latent mode are fed next.
        leave_B: rows that leave latent mode instead: their next token is an ordinary one.
        ids_B: tokens that stand for the inputs; None means the span's slot token.
    """

    inputs_BD: Tensor
    leave_B: Tensor
    ids_B: Tensor | None = None


class Host(Protocol):
    """The model as a method sees it.

    Attributes:
        token_ids: ids of the method's new tokens by their text.
    """

    token_ids: dict[str, int]

    def logits(self, hidden: Tensor, suppress: bool = True) -> Tensor:
        """Logits in float32 (..., V); with `suppress`, tokens that are never written get -inf."""
        ...


@dataclass
class LatentReasoner:
    """Base of all methods; every hook has a default that means "nothing special".

    Attributes:
        config: the method's section of the recipe.
        host: the model, once the method is on one.
        suppresses_in_loss: whether tokens that are never written get -inf in the cross-entropy too.
        begins_anew: names of modules that may begin on a model that was trained without them.
    """

    config: ReasonerConfig
    host: Host | None = field(default=None, init=False, repr=False, compare=False)
    config_class: ClassVar[type[ReasonerConfig]] = ReasonerConfig
    suppresses_in_loss: ClassVar[bool] = True
    begins_anew: ClassVar[frozenset[str]] = frozenset()

    def tokens(self) -> list[NewToken]:
        """New tokens, asked once when the model is set up."""
        return []

    def modules(self, hidden_size: int) -> dict[str, nn.Module]:
        """Extra trainable modules by name, for a language model of width `hidden_size`."""
        del hidden_size
        return {}

    def begin(self) -> None:
        """Fill the modules of a new model from files; not asked where a checkpoint's values follow."""

    def layout(self, record: Record) -> Layout:
        """Place text, images and new tokens in the turns of one sample."""
        return plain_layout(record)

    def slot_inputs(self, batch: Batch, features_FND: Tensor | None, stage: Stage) -> Tensor | None:
        """What is fed at latent positions.

        Args:
            batch: from `collate`: token ids (B, S), roles (B, S) and more; `sample_numbers` tells its samples
                apart, of which a packed row has several.
            features_FND: visual features, or None without images.
            stage: the phase of training, or the one at test.

        Returns:
            (number of latent slots in the batch, D) in row-major order, or None for the tokens' own rows.
        """
        del batch, features_FND, stage
        return None

    def losses(
        self, hidden_BSD: Tensor, batch: Batch, features_FND: Tensor | None, stage: Stage
    ) -> dict[str, Term]:
        """Auxiliary loss terms by name, beside the cross-entropy on the answer."""
        del hidden_BSD, batch, features_FND, stage
        return {}

    def loss_counts(self, batch: Batch) -> dict[str, Tensor]:
        """Number of items behind each auxiliary term of a batch, as scalar tensors.

        A term is averaged over all its items in an optimiser step, whatever micro-batches and ranks hold
        them.
        """
        del batch
        return {}

    def span(self) -> LatentSpan | None:
        """The span of latent slots that the model opens in its answer; None where slots are in the prompt."""
        return None

    def latent_inputs(self, hidden: Tensor) -> Tensor:
        """What hidden states (..., D) become when they are fed back (..., D): themselves."""
        return hidden

    def latent_deviations(self, hidden: Tensor) -> Tensor | None:
        """Standard deviation of a learned noise around `latent_inputs(hidden)`.

        Rollouts draw their latents with it; all other decoding feeds `latent_inputs` itself.

        Args:
            hidden: hidden states (..., D) that predict latents.

        Returns:
            (..., D), or None for a method without such noise.
        """
        del hidden
        return None

    def latent_step(self, state: LatentState) -> LatentStep:
        """Say what rows in latent mode are fed next, and which rows leave.

        As it is, each row is fed its last hidden state for `decode.latent_steps` steps.
        """
        leave_B = torch.ge(state.steps_B, state.decode.latent_steps)
        return LatentStep(self.latent_inputs(state.hidden_BD), leave_B)

    def own_share(self, stage: Stage) -> float:
        """Share of training samples that are fed what the model predicts itself instead of `slot_inputs`."""
        del stage
        return 0.0

    def published_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Find this method's modules among the tensors of a published checkpoint.

        Args:
            tensors: those of the checkpoint that are not part of its backbone, by name.

        Returns:
            State of `modules()`, by the names of a `ModuleDict` of them; empty where there is none.
        """
        del tensors
        return {}
