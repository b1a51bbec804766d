"""Checkpoints that others published: what a method needs to recognise one, and what it answers.

A method may have a third file, `published.py`, with a function `recognise` from `PublishedFolder` to
`Recognised` or None. It looks at `config.json` first and imports no torch.
A method in a single module has it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from latentvr.config.schema import ReasonerConfig


class StoredTensor(NamedTuple):
    """A tensor in a file.

    Attributes:
        file: path of the safetensors file.
        shape: its shape.
    """

    file: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class PublishedFolder:
    """A model folder or hub id, without the values of its weights.

    Attributes:
        path: as the user named it.
        config: what `config.json` holds.
        tensors: reads names and shapes of all weights; asked once the config is known to be the method's.
    """

    path: str
    config: Mapping[str, Any]
    tensors: Callable[[], Mapping[str, StoredTensor]]


@dataclass(frozen=True)
class Recognised:
    """A method's answer to a folder that is a checkpoint of it.

    Attributes:
        reasoner: options that the checkpoint stands for.
        fixed: names of the options that its weights do not leave open.
        token_ids: ids of the method's tokens by their text, as `config.json` has them, or None.
        tensors: names of the tensors of the method's modules.
        note: the options in words, for the log.
    """

    reasoner: ReasonerConfig
    fixed: tuple[str, ...]
    token_ids: Mapping[str, int | None]
    tensors: tuple[str, ...]
    note: str
