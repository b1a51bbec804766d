"""Does the model use its latents? Accuracy when they are hidden, left out, or replaced.

Latents in the prompt (arXiv 2512.21218, section 4.4.1): as it is, with the latents dropped, under the
bottleneck (the image is visible through the latents alone), and with both, where nothing of the image is left
and accuracy must fall to chance. Latents in the answer: zeros, those of a record with another answer, or
those that training feeds take their place, besides the four.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch

from latentvr.attention.visibility import BOTTLENECK, Visibility, preset
from latentvr.config.schema import DecodeConfig, Recipe
from latentvr.data.record import Source
from latentvr.decoding.rollout import Rollout
from latentvr.evaluation.evaluate import Feed, answer_all
from latentvr.evaluation.metrics import Prediction
from latentvr.evaluation.prompts import Prompts, encoder_for, has_latents
from latentvr.evaluation.replacements import anothers, nothing, true_latents, zeros
from latentvr.models.latent_model import LatentModel

Replacement = Literal["zeros", "another's", "true"]


@dataclass(frozen=True)
class Condition:
    """One way to run the model at test.

    Attributes:
        name: row of the table.
        drop_latents: leave the latents out; in answers the markers stay, as ordinary text.
        visibility: at test; None is that of the recipe.
        replacement: what takes the place of latents in answers.
    """

    name: str
    drop_latents: bool = False
    visibility: Visibility | None = None
    replacement: Replacement | None = None


AS_TRAINED = "as trained"
CONDITIONS = (
    Condition(AS_TRAINED),
    Condition("latents dropped", drop_latents=True),
    Condition("bottleneck", visibility=BOTTLENECK),
    Condition("bottleneck, latents dropped", drop_latents=True, visibility=BOTTLENECK),
)
SPAN_CONDITIONS = (
    *CONDITIONS,
    Condition("latents: zeros", replacement="zeros"),
    Condition("latents: another's", replacement="another's"),
    Condition("latents: true region", replacement="true"),
)


@torch.no_grad()
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
        Predictions by the condition's name; None where it does not apply: the method has no latents, no
        record with another answer has any, or records have no regions to take true latents from.
    """
    keep, longest = recipe.data.feature_cache == "memory", recipe.data.max_length
    spans = model.reasoner.span() is not None
    whole = Prompts(model, source, encoder_for(model, longest), keep)
    dropped = whole if spans else Prompts(model, source, encoder_for(model, longest, drop_latents=True), keep)
    latents = has_latents(model, source)
    written: dict[int, Rollout] = {}
    out: dict[str, list[Prediction] | None] = {}
    for condition in SPAN_CONDITIONS if spans else CONDITIONS:
        feed = _feed(condition, model, source, written, recipe) if spans else None
        missing = condition.replacement is not None and feed is None
        if missing or (condition.drop_latents and not latents):
            out[condition.name] = None
            continue
        out[condition.name] = answer_all(
            model,
            dropped if condition.drop_latents else whole,
            condition.visibility or preset(recipe.decode.visibility),
            _with_room(recipe.decode, feed, len(source.records)),
            recipe.eval.batch_size,
            feed=feed,
            keep=written if condition.name == AS_TRAINED else None,
            blind_markers=condition.drop_latents,
        )
    return out


def _feed(
    condition: Condition, model: LatentModel, source: Source, written: dict[int, Rollout], recipe: Recipe
) -> Feed | None:
    """What takes the place of the latents of answers; None leaves them."""
    width = model.backbone.width
    if condition.drop_latents:
        return nothing(width)
    makers: dict[str, Callable[[], Feed | None]] = {
        "zeros": lambda: zeros(written, recipe.decode.latent_steps, width),
        "another's": lambda: anothers(written, source),
        "true": lambda: true_latents(model, source, recipe.data.max_length),
    }
    return None if condition.replacement is None else makers[condition.replacement]()


def _with_room(decode: DecodeConfig, feed: Feed | None, records: int) -> DecodeConfig:
    """Leave as much room for text as with the model's own latents: given ones may be many more."""
    if feed is None:
        return decode
    slots = max(sum(map(len, feed(place))) for place in range(records))
    return replace(decode, max_new_tokens=decode.max_new_tokens + max(0, slots - decode.latent_steps))
