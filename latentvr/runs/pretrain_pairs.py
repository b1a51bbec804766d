"""Dense language samples for the tiny backbone: lists of pairs, each a look-up in the scene.

A single question asks for a look-up and for carrying its result to the answer at once, and a small model
finds neither for tens of thousands of samples. In a list such as "3 red 5 blue" each value follows its key,
so that one look-up is learnt at a time, and a sample holds many of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from latentvr.data.encode import IGNORED, EncodedSample
from latentvr.data.record import Record
from latentvr.data.toy import COLOURS, NONE, Scene, scene
from latentvr.data.toy.glyphs import LETTERS
from latentvr.evaluation.prompts import encoder_for
from latentvr.models.features import cache_features
from latentvr.models.latent_model import LatentModel

#: Samples that are encoded at once, so that their patches never fill the memory.
ENCODED_AT_ONCE = 64
_DIGITS = tuple(map(str, range(10)))


@dataclass(frozen=True)
class Pairing:
    """A kind of list.

    Attributes:
        prompt: asks for it.
        key: grid of `Cells` that the keys come from.
        value: grid of `Cells` that the values come from.
    """

    prompt: str
    key: str
    value: str


PAIRINGS = (
    Pairing("list the colour of the digits .", "digits", "colours"),
    Pairing("list the letter of the digits .", "digits", "letters"),
    Pairing("list the digits of the letter .", "letters", "digits"),
)
WORDS = {"digits": _DIGITS, "colours": COLOURS, "letters": LETTERS}


def draw_pairs(model: LatentModel, samples: int, seed: int) -> list[EncodedSample]:
    """Draw and encode lists of pairs on training scenes, images as features; only the values have labels.

    Args:
        model: without latents.
        samples: scenes to draw; the few without a pair of the kind are left out.
        seed: of scenes and order.

    Returns:
        Samples with cached features.
    """
    encoder = encoder_for(model)
    out: list[EncodedSample] = []
    waiting: list[EncodedSample] = []
    for i in range(samples):
        # Another series of scenes than that of the vision phase.
        drawn = scene("train", seed + 1, i)
        pairing = PAIRINGS[i % len(PAIRINGS)]
        answer = _answer(drawn, pairing, np.random.default_rng([seed, i]))
        if answer:
            record = Record(f"pairs-{i}", "pairs", "train", ("scene",), pairing.prompt, answer)
            waiting.append(encoder.encode(record, [Image.fromarray(drawn.image)]))
        if len(waiting) == ENCODED_AT_ONCE or i == samples - 1:
            cache_features(model, waiting)
            out, waiting = out + waiting, []
    for sample in out:
        # Keys come in random order and cannot be foreseen.
        sample.labels[sample.prompt_length :: 2] = IGNORED
    return out


def _answer(drawn: Scene, pairing: Pairing, rng: np.random.Generator) -> str:
    """Write "key value key value ..." for keys that are in one cell only, in random order."""
    keys = getattr(drawn.cells, pairing.key).reshape(-1)
    values = getattr(drawn.cells, pairing.value).reshape(-1)
    once = np.bincount(keys + 1, minlength=len(WORDS[pairing.key]) + 1)[keys + 1] == 1
    cells = rng.permutation(np.flatnonzero((keys != NONE) & (values != NONE) & once))
    words = ((WORDS[pairing.key][keys[c]], WORDS[pairing.value][values[c]]) for c in cells)
    return " ".join(word for pair in words for word in pair)
