"""The interventions: what is done to a model's latents to see whether its answers need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentvr.config.suggest import close, sentence
from latentvr.errors import UserError


@dataclass(frozen=True)
class Intervention:
    """One way to change the latents, or who sees them.

    Attributes:
        name: as on the command line and in every table.
        text: what it does.
        drawn: it draws at random and has a run for each seed.
    """

    name: str
    text: str
    drawn: bool = False


IDENTITY = "identity"
INTERVENTIONS = (
    Intervention(IDENTITY, "the model's own latents, fed back through the path of all interventions"),
    Intervention("zeros", "zeros"),
    Intervention("mean", "the mean of each slot over the data"),
    Intervention("noise_matched", "Gaussian noise with each slot's mean and standard deviation", drawn=True),
    Intervention("noise_norm", "a random direction with each latent's own norm", drawn=True),
    Intervention("swap", "those of another record with another answer", drawn=True),
    Intervention("blank_image", "those that the model computes from blank images"),
    Intervention("first_repeat", "the first latent in every slot"),
    Intervention("oracle", "the embeddings of the record's own regions, which training feeds"),
    Intervention("random_box", "the embeddings of a box of the same size somewhere else", drawn=True),
    Intervention("markers_only", "nothing: the markers stay, the slots go"),
    Intervention("drop", "nothing: markers and slots go"),
    Intervention("bottleneck", "unchanged, but the image is visible through the latents alone"),
    Intervention(
        "bottleneck_drop", "nothing, and the image is not visible: no answer can be better than chance"
    ),
    Intervention("top_k", "the slots that the answer attends to most get their mean, the others stay"),
)
NAMES = tuple(intervention.name for intervention in INTERVENTIONS)


def chosen(names: Sequence[str]) -> tuple[Intervention, ...]:
    """Look up interventions by name, the identity control among them in any case.

    Args:
        names: of the table; none takes all.

    Returns:
        Those in the order of the table.

    Raises:
        UserError: there is no such intervention.
    """
    for name in names:
        if name not in NAMES:
            meant = sentence(close(name, NAMES))
            raise UserError(
                f"expected interventions of {', '.join(NAMES)}, got {name!r}, at --interventions; "
                f"fix: use these names, with commas between them{meant}"
            )
    return tuple(i for i in INTERVENTIONS if not names or i.name in names or i.name == IDENTITY)
