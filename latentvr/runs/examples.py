"""Samples of a report: records spread over a source, what was answered, and where the latents look."""

from __future__ import annotations

from collections.abc import Sequence

from latentvr.attention.visibility import preset
from latentvr.config.schema import Recipe
from latentvr.data.collate import collate
from latentvr.data.record import Record, Source
from latentvr.evaluation.attention import latent_to_image
from latentvr.evaluation.evaluate import on_device
from latentvr.evaluation.metrics import Prediction
from latentvr.evaluation.overlay import latent_pictures
from latentvr.evaluation.prompts import encoder_for
from latentvr.evaluation.report import Example
from latentvr.models.latent_model import LatentModel


def spread(count: int, limit: int) -> list[int]:
    """At most `limit` places, evenly over a source, so that tasks in a row all have their share."""
    return [i * count // min(limit, count) for i in range(min(limit, count))]


def examples(
    model: LatentModel, source: Source, predictions: Sequence[Prediction], recipe: Recipe, count: int = 6
) -> tuple[Example, ...]:
    """Show some records with the attention of their latents laid over their images.

    Args:
        model: any method.
        source: records and images.
        predictions: one for each record, in the order of the source.
        recipe: visibility at test, longest sample.
        count: number of records.

    Returns:
        Samples in the order of the source.
    """
    encoder, seen = encoder_for(model, recipe.data.max_length), preset(recipe.decode.visibility)
    out = []
    for place in spread(len(source.records), count):
        record, prediction = source.records[place], predictions[place]
        images = source.images(record)
        sample = encoder.encode(record, images, with_answer=_teachable(model, record))
        batch = on_device(collate([sample], model.processor.tokenizer.pad_token_id), model)
        maps = latent_to_image(model, batch, seen)[0]
        pictures = latent_pictures(images, maps, [(box.image, box.box) for box in record.bboxes])
        correct = None if prediction.failed else prediction.correct
        out.append(
            Example(record.id, record.prompt, record.answer, prediction.text.strip(), correct, pictures)
        )
    return tuple(out)


def _teachable(model: LatentModel, record: Record) -> bool:
    """Whether a record can be encoded with its answer: latents in answers need regions."""
    return model.reasoner.span() is None or bool(record.bboxes)
