"""Which tokens of a turn write its answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence


def answer_tokens(
    text: str, answer: str, ids: Sequence[int], tokenize: Callable[[str], list[int]]
) -> tuple[int, int]:
    """Find the answer's tokens by what stands before and behind it, for tokenizers without offsets too.

    Args:
        text: the turn.
        answer: what is looked for: as a word of its own, or else anywhere; the last one; never in markup.
        ids: tokens of the turn.
        tokenize: makes tokens of a text.

    Returns:
        Its first token and the one behind its last, at least one apart; all tokens where the text does not
        hold it.
    """
    at = _place(answer, text)
    if at is None:
        return 0, len(ids)
    first = _shared(tokenize(text[:at]), ids)
    behind = tokenize(text[at + len(answer) :])
    return first, len(ids) - min(_shared(behind[::-1], ids[::-1]), len(ids) - first - 1)


def _place(answer: str, text: str) -> int | None:
    bare = re.sub(r"<[^<>]*>", lambda tag: " " * len(tag[0]), text)
    if not answer:
        return None
    whole = [found.start() for found in re.finditer(rf"(?<!\w){re.escape(answer)}(?!\w)", bare)]
    at = whole[-1] if whole else bare.rfind(answer)
    return at if at >= 0 else None


def _shared(some: Sequence[int], others: Sequence[int]) -> int:
    """Number of first tokens that two texts share."""
    pairs = zip(some, others, strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(some), len(others)))
