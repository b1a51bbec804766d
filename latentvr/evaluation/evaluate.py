"""Answer every record of a source and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import torch

from latentvr.attention.visibility import Visibility
from latentvr.config.memory_keys import for_answers
from latentvr.config.schema import DecodeConfig
from latentvr.data.collate import collate
from latentvr.data.encode import EncodedSample
from latentvr.data.record import Record
from latentvr.decoding.loop import generate
from latentvr.decoding.rollout import Rollout
from latentvr.evaluation.kept import Kept
from latentvr.evaluation.metrics import Prediction, judge
from latentvr.evaluation.prompts import Prompts
from latentvr.models.latent_model import LatentModel
from latentvr.models.out_of_memory import enough_memory, work_on_samples
from latentvr.reasoners.base import Stage


@torch.no_grad()
def answer_all(
    model: LatentModel,
    prompts: Prompts,
    visibility: Visibility,
    decode: DecodeConfig,
    batch_size: int,
    rule: Callable[[Record], str] | None = None,
    kept: Kept | None = None,
    told: Callable[[int, int], None] | None = None,
    phase: str = "evaluation",
) -> list[Prediction]:
    """Generate an answer for each prompt, in batches of similar length, and score it.

    Batches are the same in an evaluation that goes on, and each has draws of its own, so that it ends as
    one that was not stopped.

    Args:
        model: any method.
        prompts: of the source.
        visibility: at test.
        decode: length limit, latent exit, sampling.
        batch_size: prompts per forward pass.
        rule: gives the id of the rule that reads the answer to a record; "native" by default.
        kept: predictions are added to it, and those that it has are not made anew.
        told: is called with the number of answered and of all records.
        phase: what an `OutOfMemory` calls it.

    Returns:
        Predictions in the order of the records.
    """
    model.eval()
    stage = Stage("test", visibility)
    records = prompts.source.records
    done = {} if kept is None else kept.done
    out = {i: done[record.id] for i, record in enumerate(records) if record.id in done}
    for window in prompts.windows(batch_size, out.keys()):
        window.sort(key=lambda entry: len(entry[1].ids))
        for start in range(0, len(window), batch_size):
            part = window[start : start + batch_size]
            if all(i in out for i, _ in part):
                continue
            generator = _draws(model, decode.seed, min(i for i, _ in part))
            samples = [sample for _, sample in part]
            with _watched(model, phase, samples, batch_size, decode):
                written = answer_batch(model, samples, stage, decode, generator=generator)
            made = {
                i: _judged(model, records[i], row, rule) for (i, _), row in zip(part, written, strict=True)
            }
            if kept is not None:
                kept.add(made[i] for i in made if i not in out)
            out.update(made)
            if told is not None:
                told(len(out), len(records))
    return [out[i] for i in range(len(records))]


def _watched(
    model: LatentModel, phase: str, samples: Sequence[EncodedSample], batch_size: int, decode: DecodeConfig
) -> AbstractContextManager[None]:
    """Where a lack of memory is told in terms of answers."""
    return enough_memory(
        lambda: work_on_samples(phase, samples, model.processor.image_processor.patch_size),
        lambda pixels: for_answers(batch_size, decode.max_new_tokens, pixels),
    )


def _draws(model: LatentModel, seed: int, place: int) -> torch.Generator:
    """Draws of one batch, whichever batches went before."""
    seeds = np.random.SeedSequence([seed, place]).generate_state(1, np.uint64)
    return torch.Generator(model.backbone.device).manual_seed(int(seeds[0] >> np.uint64(1)))


def _judged(
    model: LatentModel, record: Record, row: Rollout, rule: Callable[[Record], str] | None
) -> Prediction:
    text = model.processor.tokenizer.decode(row.ids, skip_special_tokens=True)
    made = judge(record, text, rule(record) if rule else "native")
    return replace(made, latent_steps=len(row.fed))


def length_for_text(model: LatentModel, decode: DecodeConfig, text_tokens: int) -> int:
    """Longest answer in ids that leaves room for a text: latent steps and markers of one span come on top.

    Args:
        model: one whose method opens no spans needs nothing more.
        decode: its `latent_steps` count.
        text_tokens: of the text.

    Returns:
        A value for `max_new_tokens`.
    """
    if model.reasoner.span() is None:
        return text_tokens
    return text_tokens + decode.latent_steps + sum(token.sampled for token in model.reasoner.tokens())


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
