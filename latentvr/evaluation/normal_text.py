"""One form for texts that differ only in case, punctuation, spaces or articles."""

from __future__ import annotations

import re
import unicodedata

_ARTICLES = frozenset({"a", "an", "the"})
_NO_WORD = re.compile(r"[\W_]+")


def normal_text(text: str) -> str:
    """Fold case and compatible characters, turn punctuation into spaces and drop articles.

    A text that is nothing but articles keeps them ("A" as an answer); a text without any word
    or digit gives "".
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("\u2019", "")
    words = _NO_WORD.sub(" ", folded).split()
    return " ".join([word for word in words if word not in _ARTICLES] or words)
