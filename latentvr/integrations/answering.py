"""Answer the questions of a harness in batches, in its order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from latentvr.attention.visibility import preset
from latentvr.config.schema import DecodeConfig
from latentvr.data.encode import EncodedSample
from latentvr.data.record import Record
from latentvr.evaluation.evaluate import answer_batch
from latentvr.evaluation.prompts import WINDOW, encoder_for
from latentvr.integrations.chat import Question, reply
from latentvr.models.features import cache_features
from latentvr.models.latent_model import LatentModel
from latentvr.reasoners.base import Stage


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        text: what a harness scores.
        tokens: number of tokens that were written for it, latent slots and the end of turn included.
    """

    text: str
    tokens: int


class Answerer:
    """A model that answers questions of a harness.

    Args:
        model: put into evaluation mode.
        batch_size: questions per forward pass.
        max_length: longest prompt in tokens.

    Attributes:
        model: the model.
    """

    def __init__(self, model: LatentModel, batch_size: int = 1, max_length: int = 8192) -> None:
        self.model = model.eval()
        self._batch_size = batch_size
        self._encoder = encoder_for(model, max_length)
        self._new_tokens = [token.text for token in model.reasoner.tokens()]

    @torch.no_grad()
    def answers(
        self, questions: Iterable[Question], decode: DecodeConfig, stops: list[str] | None = None
    ) -> Iterator[Reply]:
        """Answer questions, some batches of similar length at a time.

        Args:
            questions: taken one after another, so that memory holds a window of images alone.
            decode: settings of generation.
            stops: texts before which answers end.

        Yields:
            Reply: one for each question, in order.

        Raises:
            RecordError: a prompt holds control tokens or is too long.
        """
        stage = Stage("test", preset(decode.visibility))
        generator = torch.Generator(self.model.backbone.device).manual_seed(decode.seed)
        rest = iter(questions)
        while window := list(islice(rest, WINDOW * self._batch_size)):
            yield from self._window(window, stage, decode, generator, stops or [])

    def _window(
        self,
        questions: list[Question],
        stage: Stage,
        decode: DecodeConfig,
        generator: torch.Generator,
        stops: list[str],
    ) -> list[Reply]:
        samples = [self._encode(question) for question in questions]
        cache_features(self.model, samples)
        places = sorted(range(len(samples)), key=lambda i: len(samples[i].ids))
        found: dict[int, Reply] = {}
        for start in range(0, len(places), self._batch_size):
            part = places[start : start + self._batch_size]
            rows = answer_batch(self.model, [samples[i] for i in part], stage, decode, generator=generator)
            for i, row in zip(part, rows, strict=True):
                text = self.model.processor.tokenizer.decode(row.text_ids, skip_special_tokens=True)
                found[i] = Reply(reply(text, self._new_tokens, stops), len(row.ids))
        return [found[i] for i in range(len(questions))]

    def _encode(self, question: Question) -> EncodedSample:
        names = tuple(str(i) for i in range(len(question.images)))
        record = Record(question.where, "", "test", names, question.prompt, "")
        return self._encoder.encode(record, question.images, with_answer=False, where=question.where)
