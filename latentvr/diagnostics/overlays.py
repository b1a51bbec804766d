"""Where the latents of some records look, by ranges of layers."""

from __future__ import annotations

from collections.abc import Sequence

from latentvr.attention.visibility import preset
from latentvr.config.schema import Recipe
from latentvr.data.collate import collate
from latentvr.data.record import Source
from latentvr.decoding.rollout import Rollout
from latentvr.diagnostics.reading import layer_maps
from latentvr.diagnostics.teacher import completed, completion, with_span
from latentvr.evaluation.evaluate import on_device
from latentvr.evaluation.overlay import Map
from latentvr.evaluation.prompts import encoder_for
from latentvr.models.latent_model import LatentModel

#: Ranges of layers: early, middle and late, or as many as there are layers.
RANGES = 3


def overlay_maps(
    model: LatentModel, source: Source, recipe: Recipe, written: Sequence[Rollout], places: Sequence[int]
) -> list[list[list[Map]]]:
    """Attention from latents to visual tokens, with the latents of the model's own answers.

    Args:
        model: any method.
        source: records and images.
        recipe: visibility at test, longest sample.
        written: the model's answers, by place.
        places: of the records.

    Returns:
        For each record, range of layers and image, weights (K, rows, columns).
    """
    encoder, pad = encoder_for(model, recipe.data.max_length), model.processor.tokenizer.pad_token_id
    ranges = min(RANGES, len(model.backbone.language_model.layers))
    out = []
    for place in places:
        record = source.records[place]
        sample = encoder.encode(record, source.images(record), with_answer=False)
        batch = on_device(collate([sample], pad, "left"), model)
        turn = completion(model, written[place], encoder.ending(with_span(model, record)), None)
        whole = completed(model, batch, [turn])
        out += layer_maps(model, whole, preset(recipe.decode.visibility), ranges)
    return out
