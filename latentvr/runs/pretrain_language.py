"""Second phase of the tiny backbone: the language model learns to answer, over frozen visual features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentvr.attention.visibility import CAUSAL
from latentvr.config.pretrain import LanguagePhase
from latentvr.config.schema import DecodeConfig
from latentvr.data.collate import collate
from latentvr.data.encode import EncodedSample
from latentvr.data.toy import PRETRAINING_TASKS, TASKS, Toy
from latentvr.evaluation.evaluate import answer_all
from latentvr.evaluation.prompts import Prompts, encoder_for
from latentvr.models.features import cache_features
from latentvr.models.latent_model import LatentModel
from latentvr.models.trainable import train_language
from latentvr.reasoners.base import Stage
from latentvr.runs.phase_progress import PhaseProgress
from latentvr.runs.pretrain_pairs import draw_pairs
from latentvr.trainers.optimizer import rate

STAGE = Stage("pretraining", CAUSAL)
#: Samples that are encoded at once, so that their patches never fill the memory.
ENCODED_AT_ONCE = 64
#: Samples are sorted by length within so many batches, and the batches shuffled.
BATCHES_PER_WINDOW = 24
BATCH_AT_TEST = 100


def train_answers(
    model: LatentModel, phase: LanguagePhase, seed: int, progress: PhaseProgress | None = None
) -> list[float]:
    """Train the whole language model on the question mixture, in place.

    Args:
        model: without latents; its vision tower stays as it is.
        phase: settings.
        seed: of the samples and their order.
        progress: told after every step.

    Returns:
        The loss of every step, in nats per answer token.
    """
    samples = draw_samples(model, phase, seed)
    with torch.no_grad():
        model.backbone.embedding_weight.mul_(phase.word_scale)
    model.requires_grad_(False)
    train_language(model)
    model.train()
    losses: list[float] = []
    for cycle in range(phase.cycles):
        losses += _train_cycle(model, samples, phase, seed + cycle, len(losses), progress)
    model.eval()
    return losses


def shuffled_batches(lengths: Tensor, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Split an epoch into random batches of similar length, so that little is spent on padding.

    Args:
        lengths: tokens of each sample (n,).
        batch_size: samples per batch; the last one may be smaller.
        generator: gives the order.

    Returns:
        Sample indices of each batch; every sample is in one batch.
    """
    order = torch.randperm(len(lengths), generator=generator)
    windows = torch.split(order, batch_size * BATCHES_PER_WINDOW)
    sorted_windows = [window[lengths[window].argsort(stable=True)] for window in windows]
    batches = [part for window in sorted_windows for part in torch.split(window, batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def draw_samples(model: LatentModel, phase: LanguagePhase, seed: int) -> list[EncodedSample]:
    """Draw and encode the training mixture, images as features."""
    shares = dict.fromkeys(PRETRAINING_TASKS, phase.samples) | dict.fromkeys(TASKS, phase.task_samples)
    encoder = encoder_for(model)
    out: list[EncodedSample] = []
    for name, count in shares.items():
        source = Toy([name], "train", count, seed)
        for start in range(0, count, ENCODED_AT_ONCE):
            records = source.records[start : start + ENCODED_AT_ONCE]
            part = [encoder.encode(record, source.images(record)) for record in records]
            cache_features(model, part)
            out += part
    return out + draw_pairs(model, phase.pairs, seed)


def answer_accuracy(
    model: LatentModel, tasks: Sequence[str], split: str, seed: int, n: int
) -> dict[str, tuple[int, int]]:
    """Count right greedy answers on n samples of each task: (right, all) by task."""
    source = Toy(tasks, split, n, seed)
    prompts = Prompts(model, source, encoder_for(model))
    answers = answer_all(model, prompts, CAUSAL, DecodeConfig(max_new_tokens=16), BATCH_AT_TEST)
    out = dict.fromkeys(tasks, (0, 0))
    for answer in answers:
        right, total = out[answer.task]
        out[answer.task] = (right + int(answer.correct), total + 1)
    return out


def _train_cycle(
    model: LatentModel,
    samples: Sequence[EncodedSample],
    phase: LanguagePhase,
    seed: int,
    done: int,
    progress: PhaseProgress | None,
) -> list[float]:
    """Train one learning-rate cycle with a fresh optimiser; `done` steps came before."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=phase.learning_rate, weight_decay=phase.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([len(sample.ids) for sample in samples])
    batches = [
        part for _ in range(phase.epochs) for part in shuffled_batches(lengths, phase.batch_size, generator)
    ]
    warmup, losses = int(phase.warmup * len(batches)), list[float]()
    for step, part in enumerate(batches):
        share = rate(step + 1, warmup=warmup, total=len(batches), schedule="cosine")
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate * share
        losses.append(_step(model, optimizer, parameters, [samples[i] for i in part.tolist()]))
        if progress:
            progress("language", done + step + 1, phase.cycles * len(batches), losses[-1])
    return losses


def _step(
    model: LatentModel,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    samples: Sequence[EncodedSample],
) -> float:
    """Take one optimiser step and give the mean loss of its answer tokens."""
    batch = collate(samples, model.processor.tokenizer.pad_token_id)
    tokens = sum(int((s.labels >= 0).sum()) for s in samples)
    loss = model(batch, STAGE)["ce"].total / tokens
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    return float(loss.detach())
