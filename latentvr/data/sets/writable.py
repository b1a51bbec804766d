"""Values that can be written as JSON in UTF-8."""

from __future__ import annotations

import json


def is_writable(*values: object) -> bool:
    """Whether JSON values hold no half of a surrogate pair, which JSON can escape and UTF-8 cannot write."""
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
