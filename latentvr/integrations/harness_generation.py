"""What a task of a harness asks of generation, as settings of our decoder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from latentvr.config.decode_rules import require_decode
from latentvr.config.schema import DecodeConfig
from latentvr.errors import RecipeError
from latentvr.evaluation.evaluate import length_for_text
from latentvr.integrations.harness_settings import Harness

log = logging.getLogger(__name__)

_LENGTH = "max_new_tokens"
_SAMPLING = ("temperature", "top_k", "top_p", "min_p")
_TAKEN = (_LENGTH, "do_sample", *_SAMPLING, "repetition_penalty", "seed")
_STOPS = ("until", "stop_sequences")
#: Say nothing about the answers of a model that takes images as they are and searches greedily or samples.
_HARMLESS = ("image_aspect_ratio", "use_cache", "skip_special_tokens")
#: Command lines and files write switches as texts; of a text, bool() would make true out of "False".
_SWITCHES = {"true": True, "1": True, "false": False, "0": False}
#: What lmms-eval fills in for a task that names no end; its own wrappers for such models leave it out too.
_FILLER = "\n\n"


def settings_of_task(
    harness: Harness, asked: Mapping[str, Any], where: str
) -> tuple[DecodeConfig, list[str]]:
    """Put a task's generation arguments on the run's settings.

    A task's `max_new_tokens` counts text: steps and markers of one latent span come on top of it. Arguments
    of the harness's command line for the model beat those of the task.

    Args:
        harness: model, settings and which of them are fixed.
        asked: the task's arguments; null means none.
        where: what errors name as the place.

    Returns:
        Settings of generation, and the texts before which answers end.

    Raises:
        RecipeError: beam search, or a value out of range.
    """
    given = {key: value for key, value in asked.items() if value is not None}
    if _typed_as("int", given.pop("num_beams", 1), "num_beams", where) != 1:
        raise RecipeError(
            f"expected num_beams=1, got {asked['num_beams']}, at {where}; "
            "fix: set num_beams=1 in the task, or with --gen_kwargs"
        )
    stops = [text for key in _STOPS for text in _texts(given.pop(key, ()), key, where) if text != _FILLER]
    unknown = sorted(key for key in given if key not in (*_TAKEN, *_HARMLESS))
    if unknown:
        log.warning("%s asks for %s, which has no meaning here and is left out", where, ", ".join(unknown))
    changes = _typed({key: given[key] for key in _TAKEN if key in given}, where)
    changes = {key: value for key, value in _sampling(changes).items() if key not in harness.fixed}
    config = harness.answerer.model.reasoner.config
    if _LENGTH in changes:
        changes[_LENGTH] = length_for_text(harness.answerer.model, harness.decode, changes[_LENGTH])
    if "stop_strings" not in harness.fixed:
        changes["stop_strings"] = [text for text in stops if text.strip()]
    decode = replace(harness.decode, **changes)
    require_decode(decode, config)
    return decode, [*decode.stop_strings, *(text for text in stops if text and not text.strip())]


def _texts(value: Any, key: str, where: str) -> list[str]:
    texts = [value] if isinstance(value, str) else list(value)
    if not all(isinstance(text, str) for text in texts):
        raise RecipeError(f"expected texts, got {value!r}, at {where}, {key}; fix: quote them")
    return [text for text in texts if text]


def _typed(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values in the types of our settings; harnesses write 0 for 0.0, and texts for either."""
    kinds = {field.name: field.type for field in fields(DecodeConfig)}
    return {key: _typed_as(str(kinds[key]), value, key, where) for key, value in values.items()}


def _typed_as(kind: str, value: Any, key: str, where: str) -> Any:
    """A value as int, float or bool; what is not clearly one of that type is refused."""
    if kind == "bool":
        found = _SWITCHES.get(str(value).strip().lower())
        if found is None:
            raise RecipeError(
                f"expected true or false, got {value!r}, at {where}, {key}; fix: write true or false"
            )
        return found
    try:
        made = {"int": int, "float": float}[kind](value)
        whole = kind != "int" or float(value) == made
    except (TypeError, ValueError, OverflowError):
        raise RecipeError(f"expected {kind}, got {value!r}, at {where}, {key}; fix: write a number") from None
    if not whole:
        raise RecipeError(f"expected a whole number, got {value!r}, at {where}, {key}; fix: write one")
    return made


def _sampling(changes: dict[str, Any]) -> dict[str, Any]:
    """Whether to draw: as asked, else where there is a temperature; temperature 0 is greedy search."""
    temperature = changes.get("temperature")
    draws = changes.get("do_sample", None if temperature is None else temperature > 0)
    if draws is None:
        return changes
    if not draws or temperature == 0:
        return {**{k: v for k, v in changes.items() if k not in _SAMPLING}, "do_sample": False}
    return {**changes, "do_sample": True}
