"""The images of a batch of prompts once more for each sequence that is written from a prompt.

Patches of all images lie end to end, so they have no axis of prompts that could be repeated.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from latentvr.errors import ModelError


def repeated_images(
    values: Tensor, grid: Tensor, tokens_B: Tensor, merge: int, times: int
) -> tuple[Tensor, Tensor]:
    """Repeat all images of each prompt, in the order in which prompts are repeated: `times` in a row each.

    Args:
        values: patches (P, values) of all images.
        grid: (images, 3) in patches.
        tokens_B: number of image placeholders of each prompt (B,).
        merge: patches per side of a visual token.
        times: sequences of a prompt.

    Returns:
        Patches (times * P, values) and grids (times * images, 3).

    Raises:
        ModelError: the prompts' placeholders are not those of whole images.
    """
    patches = grid.prod(-1)
    ends = (patches // merge**2).cumsum(0).tolist()
    places = {0: 0, **{end: number for number, end in enumerate(ends, 1)}}
    wanted = tokens_B.cumsum(0).tolist()
    if any(end not in places for end in wanted) or wanted[-1] != ([0, *ends])[-1]:
        raise ModelError(
            f"expected prompts with the placeholders of whole images, {([0, *ends])[-1]} together, got "
            f"{tokens_B.tolist()}, at input_ids; fix: write a placeholder for each visual token"
        )
    each = values.split(patches.tolist())
    starts = [0, *(places[end] for end in wanted)]
    numbers = [
        image for first, last in pairwise(starts) for _ in range(times) for image in range(first, last)
    ]
    return torch.cat([each[image] for image in numbers]), grid[numbers]
