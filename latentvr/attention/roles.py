"""Token roles: what a token is to the method, and so what it may see."""

from enum import IntEnum


class Role(IntEnum):
    """The role of one token; `roles` tensors hold these values as int8, shape (B, S)."""

    PAD = 0
    IMAGE = 1
    PROMPT = 2
    LATENT = 3
    ANSWER = 4
