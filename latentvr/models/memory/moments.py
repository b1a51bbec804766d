"""What lies on the device at one moment, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Moment:
    """Bytes on one device at a moment at which memory may be at its peak.

    Attributes:
        name: what happens.
        weights: of the model, adapters and new rows, and copies that a run keeps of them.
        gradients: of what trains, and the buffers that processes exchange them in.
        optimizer: AdamW's moments, and its temporaries while it steps.
        activations: what the backward pass needs of the decoder and of a tower that trains, and its working
            memory.
        logits: scores of the vocabulary and their gradients.
        vision: pixels, features, and working memory of a tower that does not train.
        cache: keys and values of answers that are written.
    """

    name: str
    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    logits: int = 0
    vision: int = 0
    cache: int = 0

    def parts(self) -> dict[str, int]:
        """Bytes by part."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "name"}

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts().values())


def peak(moments: Sequence[Moment]) -> Moment:
    """The moment that needs most; the first of equal ones."""
    return max(moments, key=lambda moment: moment.total)
