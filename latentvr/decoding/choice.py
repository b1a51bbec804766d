"""Choose the next token: the likeliest one, or one drawn by its probability.

Shape letters: B batch, T tokens so far, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from latentvr.config.schema import DecodeConfig
from latentvr.errors import RecipeError


class Choice:
    """Chooses tokens by the settings of `decode`, with the processors of transformers.

    Args:
        decode: the settings.
        generator: for drawing; None takes torch's own.
    """

    def __init__(self, decode: DecodeConfig, generator: torch.Generator | None = None) -> None:
        self.decode = decode
        self.generator = generator
        penalty, draws = decode.repetition_penalty, decode.do_sample
        self.needs_text = penalty != 1
        self._penalty = RepetitionPenaltyLogitsProcessor(float(penalty)) if penalty != 1 else None
        self._narrow = LogitsProcessorList()
        if draws and decode.top_k:
            self._narrow.append(TopKLogitsWarper(decode.top_k))
        if draws and decode.top_p < 1:
            self._narrow.append(TopPLogitsWarper(decode.top_p))
        if draws and decode.min_p > 0:
            self._narrow.append(MinPLogitsWarper(decode.min_p))

    def __call__(self, logits_BV: Tensor, text_BT: Tensor | None) -> tuple[Tensor, Tensor]:
        """Choose a token for each row.

        Args:
            logits_BV: float32, -inf where a token must not be written.
            text_BT: ids of prompt and text so far, where `needs_text`.

        Returns:
            Ids (B,), and their log-probabilities (B,) after the temperature alone.
        """
        if not self.decode.do_sample and self._penalty is None:
            ids_B = logits_BV.argmax(-1)
            return ids_B, _of_chosen(logits_BV, ids_B)
        temperature = self.decode.temperature if self.decode.do_sample else 1.0
        scaled_BV = logits_BV if temperature == 1 else logits_BV / temperature
        ranked_BV = scaled_BV
        if self._penalty is not None and text_BT is not None:
            ranked_BV = self._penalty(text_BT, logits_BV) / temperature
        if self.decode.do_sample:
            shares_BV = self._narrow(text_BT, ranked_BV).softmax(-1)
            ids_B = torch.multinomial(shares_BV, 1, generator=self.generator)[:, 0]
        else:
            ids_B = ranked_BV.argmax(-1)
        return ids_B, _of_chosen(scaled_BV, ids_B)


def _of_chosen(scores_BV: Tensor, ids_B: Tensor) -> Tensor:
    """Log-probabilities (B,) of tokens."""
    return scores_BV.log_softmax(-1).gather(1, ids_B[:, None])[:, 0]


class StopStrings:
    """Tells whether a row has written one of the stop strings.

    Args:
        tokenizer: turns ids into text.
        strings: the texts; none never stops.

    Raises:
        RecipeError: a string is empty.

    Attributes:
        strings: the texts.
        window: tokens at the end of a row in which a text that its last token completes lies.
    """

    def __init__(self, tokenizer: Any, strings: list[str]) -> None:
        if "" in strings:
            raise RecipeError(
                "expected stop strings of at least one character, got an empty one, at decode.stop_strings; "
                "fix: leave it out"
            )
        self.tokenizer = tokenizer
        self.strings = strings
        # A token holds a byte at least; a character has four bytes at most.
        self.window = 4 * max(map(len, strings), default=0) + 4

    def __call__(self, ids: list[int]) -> bool:
        """Whether the last tokens of a row contain a stop string."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return any(string in text for string in self.strings)
