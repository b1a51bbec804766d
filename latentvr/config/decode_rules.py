"""What settings of generation can get wrong for a method; recipes and the Python interface ask the same."""

from __future__ import annotations

from collections.abc import Iterator

from latentvr.config.ranges import out_of_range
from latentvr.config.schema import DecodeConfig, ReasonerConfig
from latentvr.errors import RecipeError


def decode_problems(decode: DecodeConfig, reasoner: ReasonerConfig) -> Iterator[tuple[str, str]]:
    """Find the settings that a method cannot take.

    Args:
        decode: the settings.
        reasoner: the method and its options.

    Yields:
        tuple[str, str]: key and sentence.
    """
    # Latent steps count as tokens: a span that fills the answer leaves no room for one.
    if reasoner.opens_spans and decode.latent_steps >= decode.max_new_tokens:
        yield (
            "decode.latent_steps",
            f"expected fewer latent steps than decode.max_new_tokens ({decode.max_new_tokens}), got "
            f"{decode.latent_steps}; fix: raise decode.max_new_tokens or lower decode.latent_steps",
        )
    for text in reasoner.decode_problems(decode):
        name, _, message = text.partition(": ")
        yield f"decode.{name}", message


def require_decode(decode: DecodeConfig, reasoner: ReasonerConfig) -> None:
    """Refuse settings of generation that are out of range, or that a method cannot take.

    Args:
        decode: the settings.
        reasoner: the method and its options.

    Raises:
        RecipeError: there are such; all are named, a line each.
    """
    found = [*out_of_range(decode, "decode"), *decode_problems(decode, reasoner)]
    if found:
        raise RecipeError("\n".join(f"{key}: {message}" for key, message in found))
