"""Answer every record of a source and compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from latentvr.attention.visibility import Visibility
from latentvr.config.schema import DecodeConfig
from latentvr.data.collate import collate
from latentvr.data.encode import EncodedSample
from latentvr.decoding.loop import generate
from latentvr.decoding.rollout import Rollout
from latentvr.evaluation.metrics import Prediction, judge
from latentvr.evaluation.prompts import Prompts
from latentvr.models.latent_model import LatentModel
from latentvr.reasoners.base import Stage


@torch.no_grad()
def answer_all(
    model: LatentModel,
    prompts: Prompts,
    visibility: Visibility,
    decode: DecodeConfig,
    batch_size: int,
) -> list[Prediction]:
    """Generate an answer for each prompt, in batches of similar length, and score it.

    Args:
        model: any method.
        prompts: of the source.
        visibility: at test.
        decode: length limit, latent exit, sampling.
        batch_size: prompts per forward pass.

    Returns:
        Predictions in the order of the records.
    """
    model.eval()
    stage, tokenizer = Stage("test", visibility), model.processor.tokenizer
    generator = torch.Generator(model.backbone.device).manual_seed(decode.seed)
    records = prompts.source.records
    out: dict[int, Prediction] = {}
    for window in prompts.windows(batch_size):
        window.sort(key=lambda entry: len(entry[1].ids))
        for start in range(0, len(window), batch_size):
            part = window[start : start + batch_size]
            samples = [sample for _, sample in part]
            written = answer_batch(model, samples, stage, decode, generator=generator)
            for (i, _), row in zip(part, written, strict=True):
                made = judge(records[i], tokenizer.decode(row.ids, skip_special_tokens=True))
                out[i] = replace(made, latent_steps=len(row.fed))
    return [out[i] for i in range(len(records))]


def answer_batch(
    model: LatentModel,
    samples: Sequence[EncodedSample],
    stage: Stage,
    decode: DecodeConfig,
    feed: Sequence[Sequence[torch.Tensor]] | None = None,
    generator: torch.Generator | None = None,
    blind_markers: bool = False,
) -> list[Rollout]:
    """Write answers to samples that were encoded without one; the last arguments are those of `generate`."""
    batch = collate(samples, model.processor.tokenizer.pad_token_id, "left")
    return generate(
        model,
        on_device(batch, model),
        stage,
        decode,
        feed=feed,
        generator=generator,
        blind_markers=blind_markers,
    )


def on_device(batch: dict[str, object], model: LatentModel) -> dict[str, object]:
    """Move the tensors of a batch to the model's device."""
    device = model.backbone.device
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


def accuracy(predictions: Sequence[Prediction]) -> float:
    """Share of correct answers; an extraction failure is wrong."""
    return sum(p.correct for p in predictions) / max(1, len(predictions))
