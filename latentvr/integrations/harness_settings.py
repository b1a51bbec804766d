"""Arguments of a harness, such as `pretrained=CKPT,max_pixels=802816`, to settings of a recipe."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentvr.config.decode_rules import require_decode
from latentvr.config.fields import leaves, tree
from latentvr.config.rules import require_for_evaluation
from latentvr.config.schema import DecodeConfig, ReasonerConfig
from latentvr.config.suggest import ELSEWHERE, sentence, suggest
from latentvr.errors import RecipeError
from latentvr.integrations.answering import Answerer
from latentvr.runs.folder import settings_of
from latentvr.runs.inference import load_checkpoint

#: Settings beside those of `decode` that do not change what the checkpoint is.
_KEYS = (
    "eval.batch_size", "data.max_length", "train.device", "model.revision", "model.dtype", "model.attention",
    "model.pack", "model.min_pixels", "model.max_pixels", "model.trust_remote_code",
)  # fmt: skip
#: Names that other wrappers give to a setting, beyond those that `latentvr.config.suggest` knows.
_ALIASES = {"lvr_steps": "decode.latent_steps"}
_METHOD = "reasoner."


@dataclass(frozen=True)
class Harness:
    """A loaded model and how it answers.

    Attributes:
        answerer: the model.
        decode: the run's settings of generation, with those of the arguments on top.
        fixed: fields of `decode` that the arguments name; no task changes them.
    """

    answerer: Answerer
    decode: DecodeConfig
    fixed: frozenset[str]


def open_harness(path: str, options: Mapping[str, Any], where: str) -> Harness:
    """Load a model with the arguments of a harness.

    Args:
        path: run folder, checkpoint, model folder or hub id.
        options: full keys of a recipe, or their last part where it is clear; keys under `reasoner` only say
            what the checkpoint has to have. Values may be texts or typed.
        where: what errors name as the place of the arguments.

    Returns:
        The model and its settings.

    Raises:
        UserError: an argument or the checkpoint is wrong.
    """
    if not path:
        raise RecipeError(
            f"expected pretrained=CKPT, got none, at {where}; fix: name a run, checkpoint or model"
        )
    keyed: dict[str, str] = {}
    for name, value in options.items():
        key = full_key(name, where)
        if key in keyed:
            raise RecipeError(
                f"expected each setting once, got {key} twice, at {where}; fix: leave {name} out"
            )
        keyed[key] = _text(value)
    method = {key: keyed.pop(key) for key in list(keyed) if key.startswith(_METHOD)}
    device = keyed.pop("train.device", "auto")
    overrides = [f"{key}={text}" for key, text in keyed.items()]
    resolved = settings_of(Path(path), overrides)
    require_for_evaluation(resolved)
    recipe = resolved.recipe
    names = [key.removeprefix("model.") for key in keyed if key.startswith("model.")]
    changes = {name: getattr(recipe.model, name) for name in names}
    model = load_checkpoint(path, _device(device, where), **changes)
    _require_method(model.reasoner.config, method, where)
    require_decode(recipe.decode, model.reasoner.config)
    fixed = frozenset(key.removeprefix("decode.") for key in keyed if key.startswith("decode."))
    return Harness(Answerer(model, recipe.eval.batch_size, recipe.data.max_length), recipe.decode, fixed)


def full_key(name: str, where: str) -> str:
    """Find the recipe's key that a harness argument means.

    Args:
        name: a full key, its last part, or what other libraries call it.
        where: what errors name as the place.

    Returns:
        The full key; any under `reasoner` is taken as it is.

    Raises:
        RecipeError: no setting, or one that the checkpoint fixes.
    """
    every = [leaf.key for leaf in leaves(tree(ReasonerConfig))]
    known = [key for key in every if key.startswith("decode.") or key in _KEYS]
    if name in known or name.startswith(_METHOD):
        return name
    same = [key for key in known if key.rpartition(".")[2] == name]
    if len(same) == 1:
        return same[0]
    meant = {**ELSEWHERE, **_ALIASES}.get(name, "")
    if meant in known or meant.startswith(_METHOD):
        return meant
    raise RecipeError(
        f"expected a setting of decode, or one of {', '.join(_KEYS)}, got {name!r}, at {where}; "
        f"fix: leave it out{sentence(suggest(name, known))}"
    )


def _text(value: Any) -> str:
    """A value as a recipe's text; harnesses turn some texts into values before they hand them over."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _device(name: str, where: str) -> str:
    """A device by name; under a launcher of several processes, each takes its own."""
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", name) is None:
        raise RecipeError(
            f"expected auto, cpu, cuda or cuda:N, got {name!r}, at {where}; fix: choose one of these"
        )
    if not torch.cuda.is_available():
        return "cuda" if name.startswith("cuda") else name  # which is refused in a sentence
    if name in ("auto", "cuda") and "LOCAL_RANK" in os.environ:
        name = f"cuda:{int(os.environ['LOCAL_RANK'])}"
    if ":" in name:
        torch.cuda.set_device(name)
    return name


def _require_method(config: ReasonerConfig, wanted: Mapping[str, str], where: str) -> None:
    """Refuse options of the method that are not those that the checkpoint was trained with."""
    has = {f"{_METHOD}{key}": _text(value) for key, value in dataclasses.asdict(config).items()}
    for key, text in wanted.items():
        if key not in has:
            raise RecipeError(
                f"expected an option of the method {config.name!r}, got {key!r}, at {where}; "
                "fix: leave it out"
            )
        if has[key] != text:
            raise RecipeError(
                f"expected {key}={has[key]}, with which the checkpoint was trained, got {text}, at {where}; "
                "fix: leave it out, or evaluate another checkpoint"
            )
