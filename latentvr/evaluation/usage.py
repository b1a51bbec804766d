"""Does the model use its latents? The checks of arXiv 2512.21218, section 4.4.1.

Accuracy as it is, with the latents dropped, under the bottleneck (the image is visible through the latents
alone), and with both, where nothing of the image is left and accuracy must fall to chance.
"""

from __future__ import annotations

from dataclasses import dataclass

from latentvr.attention.visibility import BOTTLENECK, Visibility, preset
from latentvr.config.schema import Recipe
from latentvr.data.record import Source
from latentvr.evaluation.evaluate import answer_all
from latentvr.evaluation.metrics import Prediction
from latentvr.evaluation.prompts import Prompts, encoder_for, has_latents
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


AS_TRAINED = "as trained"
CONDITIONS = (
    Condition(AS_TRAINED),
    Condition("latents dropped", drop_latents=True),
    Condition("bottleneck", visibility=BOTTLENECK),
    Condition("bottleneck, latents dropped", drop_latents=True, visibility=BOTTLENECK),
)


def check_usage(
    model: LatentModel,
    source: Source,
    recipe: Recipe,
) -> dict[str, list[Prediction] | None]:
    """Run all conditions on the same records.

    Args:
        model: any method.
        source: the records and images.
        recipe: visibility and length of answers, batch size, longest prompt, whether features are kept.

    Returns:
        Predictions by the condition's name; None where it does not apply, because the method has no latents.
    """
    keep, longest = recipe.data.feature_cache == "memory", recipe.data.max_length
    whole = Prompts(model, source, encoder_for(model, longest), keep)
    dropped = Prompts(model, source, encoder_for(model, longest, drop_latents=True), keep)
    latents = has_latents(model, source)
    out: dict[str, list[Prediction] | None] = {}
    for condition in CONDITIONS:
        if condition.drop_latents and not latents:
            out[condition.name] = None
            continue
        prompts = dropped if condition.drop_latents else whole
        seen = condition.visibility or preset(recipe.decode.visibility)
        out[condition.name] = answer_all(model, prompts, seen, recipe.decode, recipe.eval.batch_size)
    return out
