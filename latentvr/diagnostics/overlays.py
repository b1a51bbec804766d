"""Where the latents of some records look, by ranges of layers."""

from __future__ import annotations

from collections.abc import Sequence

from latentvr.attention.visibility import Visibility
from latentvr.data.collate import collate
from latentvr.diagnostics.diagnose import Diagnosis
from latentvr.diagnostics.reading import layer_maps
from latentvr.diagnostics.teacher import completed, completion, with_span
from latentvr.evaluation.evaluate import on_device
from latentvr.evaluation.overlay import Map
from latentvr.models.latent_model import LatentModel

#: Ranges of layers: early, middle and late, or as many as there are layers.
RANGES = 3


def overlay_maps(
    model: LatentModel, found: Diagnosis, visibility: Visibility, places: Sequence[int]
) -> list[list[list[Map]]]:
    """Attention from latents to visual tokens, with the latents of the model's own answers.

    Args:
        model: any method.
        found: its answers and prompts.
        visibility: at test.
        places: of the records.

    Returns:
        For each record, range of layers and image, weights (K, rows, columns).
    """
    prompts, pad = found.prompts, model.processor.tokenizer.pad_token_id
    ranges = min(RANGES, len(model.backbone.language_model.layers))
    out = []
    for place in places:
        batch = on_device(collate([prompts.kept[place]], pad, "left"), model)
        record, row = prompts.source.records[place], found.written[place]
        ending = prompts.encoder.ending(with_span(model, record))
        turn = completion(model, row, ending, None)
        whole = completed(model, batch, [turn])
        out += layer_maps(model, whole, visibility, ranges)
    return out
