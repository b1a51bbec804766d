"""Answer every record of a source and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility
from latentvr.config.schema import DecodeConfig
from latentvr.data.collate import collate
from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.layout import Layout, NewToken
from latentvr.data.record import Record, Source
from latentvr.decoding.loop import generate
from latentvr.evaluation.metrics import Prediction, judge
from latentvr.models.features import cache_features
from latentvr.models.latent_model import LatentModel
from latentvr.reasoners.base import Stage

Progress = Callable[[int], None]


def encoder_for(model: LatentModel, max_length: int = 8192, drop_latents: bool = False) -> Encoder:
    """Encoder for a model; with `drop_latents`, whatever has the latent role is left out of the layout."""
    layout = model.reasoner.layout
    tokens = model.reasoner.tokens()
    return Encoder(
        model.processor,
        partial(without_latents, layout, tokens) if drop_latents else layout,
        tokens,
        model.backbone.positions,
        max_length,
    )


def without_latents(layout: Callable[[Record], Layout], tokens: Sequence[NewToken], record: Record) -> Layout:
    """A record's layout without latent tokens and without images in the latents' place."""
    full = layout(record)
    user = []
    for segment in full.user:
        if segment.kind == "image" and segment.role is Role.LATENT:
            continue
        text = segment.text
        if segment.kind == "tokens":
            for token in tokens:
                text = text.replace(token.text, "") if token.role is Role.LATENT else text
        if segment.kind == "image" or text:
            user.append(segment if text == segment.text else type(segment)(segment.kind, text))
    return Layout(tuple(user), full.answer)


def encode_prompts(
    model: LatentModel, source: Source, encoder: Encoder, batch_size: int = 64
) -> list[EncodedSample]:
    """Encode all records of a source without their answers, images already as features."""
    samples = []
    for start in range(0, len(source.records), batch_size):
        part = source.records[start : start + batch_size]
        encoded = [encoder.encode(r, source.images(r), with_answer=False) for r in part]
        cache_features(model, encoded, batch_size)
        samples += encoded
    return samples


@torch.no_grad()
def answer_all(
    model: LatentModel,
    records: Sequence[Record],
    prompts: Sequence[EncodedSample],
    visibility: Visibility,
    decode: DecodeConfig,
    batch_size: int,
    progress: Progress | None = None,
) -> list[Prediction]:
    """Generate an answer for each prompt, in batches of similar length, and score it.

    Args:
        model: any method.
        records: what was asked, in the order of `prompts`.
        prompts: encoded without answers.
        visibility: at test.
        decode: length limit.
        batch_size: prompts per forward pass.
        progress: called with the number of finished samples after each batch.

    Returns:
        Predictions in the order of the records.
    """
    model.eval()
    stage = Stage("test", visibility)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].ids))
    out: dict[int, Prediction] = {}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        batch = collate([prompts[i] for i in part], model.processor.tokenizer.pad_token_id, "left")
        batch = {k: v.to(model.backbone.device) if torch.is_tensor(v) else v for k, v in batch.items()}
        written = generate(model, batch, stage, decode.max_new_tokens)
        for i, row in zip(part, written, strict=True):
            out[i] = judge(records[i], model.processor.tokenizer.decode(row.ids, skip_special_tokens=True))
        if progress:
            progress(len(part))
    return [out[i] for i in range(len(prompts))]


def accuracy(predictions: Sequence[Prediction]) -> float:
    """Share of correct answers; an extraction failure is wrong."""
    return sum(p.correct for p in predictions) / max(1, len(predictions))
