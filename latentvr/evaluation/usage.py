"""Does the model use its latents? The checks of arXiv 2512.21218, section 4.4.1.

Accuracy as it is, with the latents dropped, under the bottleneck (the image is visible through the latents
alone), and with both, where nothing of the image is left and accuracy must fall to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, Visibility
from latentvr.config.schema import DecodeConfig
from latentvr.data.encode import EncodedSample
from latentvr.data.record import Source
from latentvr.evaluation.evaluate import answer_all, encode_prompts, encoder_for
from latentvr.evaluation.metrics import Prediction
from latentvr.models.latent_model import LatentModel


@dataclass(frozen=True)
class Condition:
    """One way to run the model at test.

    Attributes:
        name: row of the table.
        drop_latents: leave the latents out.
        visibility: at test; None is that of the recipe.
    """

    name: str
    drop_latents: bool = False
    visibility: Visibility | None = None


CONDITIONS = (
    Condition("as trained"),
    Condition("latents dropped", drop_latents=True),
    Condition("bottleneck", visibility=BOTTLENECK),
    Condition("bottleneck, latents dropped", drop_latents=True, visibility=BOTTLENECK),
)


def check_usage(
    model: LatentModel,
    source: Source,
    visibility: Visibility,
    decode: DecodeConfig,
    batch_size: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, list[Prediction] | None]:
    """Run all conditions on the same records.

    Args:
        model: in evaluation mode.
        source: the records and images.
        visibility: what each role may see under the conditions that do not choose it themselves.
        decode: settings of generation.
        batch_size: records per batch.
        progress: called with the number of records newly finished, after each batch.

    Returns:
        Predictions by the condition's name; None where it does not apply, because the method has no latents.
    """
    with_latents = encode_prompts(model, source, encoder_for(model))
    dropped: Sequence[EncodedSample] | None = None
    if any(bool((s.roles == Role.LATENT).any()) for s in with_latents):
        dropped = encode_prompts(model, source, encoder_for(model, drop_latents=True))
    out: dict[str, list[Prediction] | None] = {}
    for condition in CONDITIONS:
        prompts = dropped if condition.drop_latents else with_latents
        seen = condition.visibility or visibility
        out[condition.name] = (
            None
            if prompts is None
            else answer_all(model, source.records, prompts, seen, decode, batch_size, progress)
        )
    return out
