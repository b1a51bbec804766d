"""`LatentReasoner`: what a latent-reasoning method has to answer, and nothing else.

A method is a folder with `config.py` (a dataclass `Config` and a function `default_stages`, free of torch)
and `reasoner.py` (a class `Reasoner`). It says which tokens are new, where they go, which role sees which in
which stage, what is fed at latent slots and which extra losses there are. Everything else (templates, masks,
kernels, trainers, checkpoints, decoding) asks these questions and never the method's name.

Shape letters: B batch, S sequence, N visual tokens of a batch, D width, F feature levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from latentvr.attention.visibility import Visibility
from latentvr.config.schema import ReasonerConfig
from latentvr.data.layout import Layout, NewToken, plain_layout
from latentvr.data.record import Record


@dataclass(frozen=True)
class Stage:
    """A phase of training, as the model and the losses see it.

    Attributes:
        name: as in the recipe.
        visibility: which role sees which.
    """

    name: str
    visibility: Visibility


class Term(NamedTuple):
    """A loss term before averaging.

    Attributes:
        total: sum over the items of a batch, a scalar tensor with gradient.
        weight: weight in the total loss.
    """

    total: Tensor
    weight: float = 1.0


Batch = Mapping[str, Any]


@dataclass
class LatentReasoner:
    """Base of all methods; every hook has a default that means "nothing special".

    Attributes:
        config: the method's section of the recipe.
    """

    config: ReasonerConfig
    config_class: ClassVar[type[ReasonerConfig]] = ReasonerConfig

    def tokens(self) -> list[NewToken]:
        """New tokens, asked once when the model is set up."""
        return []

    def modules(self, hidden_size: int) -> dict[str, nn.Module]:
        """Extra trainable modules by name, for a language model of width `hidden_size`."""
        del hidden_size
        return {}

    def layout(self, record: Record) -> Layout:
        """Place text, images and new tokens in the turns of one sample."""
        return plain_layout(record)

    def slot_inputs(self, batch: Batch, features_FND: Tensor | None, stage: Stage) -> Tensor | None:
        """What is fed at latent positions.

        Args:
            batch: from `collate`: token ids (B, S), roles (B, S) and more.
            features_FND: visual features, or None without images.
            stage: the phase of training, or the one at test.

        Returns:
            (number of LATENT positions in the batch, D) in row-major order, or None for the tokens' own rows.
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
