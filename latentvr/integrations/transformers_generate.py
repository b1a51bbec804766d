"""Our decoding loop behind `generate` of transformers, as its argument `custom_generate`.

transformers prepares the generation config and hands it over with its logits processors and stopping
criteria: they are read here, and what is not understood is refused. It keeps `assistant_model` and `streamer`
to itself, so that no custom function can see and refuse them.

Shape letters: B rows, S prompt, T new tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import (
    EosTokenCriteria,
    GenerationConfig,
    MaxLengthCriteria,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    StopStringCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from latentvr.attention.roles import Role
from latentvr.attention.visibility import preset
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.loop import generate
from latentvr.errors import ModelError, RecipeError
from latentvr.models.backbone import feature_levels
from latentvr.models.latent_model import LatentModel
from latentvr.reasoners.base import Batch, Stage

#: Fields of `DecodeConfig` by the processor that has the value under the same name, or under the one given.
_PROCESSORS: dict[type, tuple[str, str]] = {
    TemperatureLogitsWarper: ("temperature", "temperature"),
    TopKLogitsWarper: ("top_k", "top_k"),
    TopPLogitsWarper: ("top_p", "top_p"),
    MinPLogitsWarper: ("min_p", "min_p"),
    RepetitionPenaltyLogitsProcessor: ("repetition_penalty", "penalty"),
}
_OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
_CACHES = {None: "dynamic", "dynamic": "dynamic", "static": "static"}
_INPUTS = {"attention_mask", "position_ids", "pixel_values", "image_grid_thw", "mm_token_type_ids",
           "mm_encoder_outputs", "logits_to_keep", "use_cache", "past_key_values"}  # fmt: skip
_OUTPUTS = ("return_dict_in_generate", "output_scores", "output_logits", "output_attentions",
            "output_hidden_states")  # fmt: skip
_WHERE = "at generate(custom_generate=...)"


def custom_generate(
    model: LatentModel, decode: DecodeConfig | None = None, visibility: str = "causal"
) -> Callable[..., Tensor]:
    """Make a function for the argument `custom_generate` of the stock model's `generate`.

    The returned function takes prompts that are padded on the left. Which tokens of a prompt are latent is
    read from their ids; rotary positions are those that transformers has computed. Sampling draws from
    torch's global generator, as transformers does. Settings that it cannot honour raise `RecipeError`; stop
    strings go in as a `StopStringCriteria`, because transformers keeps the tokenizer from custom functions.

    Args:
        model: around the stock model whose `generate` is called.
        decode: latent steps, exit, closing markers and suppressed tokens; lengths and sampling come from the
            generation config.
        visibility: name of a visibility.

    Returns:
        A function that gives ids (B, S + T): prompts and answers, latent slots included, filled up with the
        padding id.

    Raises:
        RecipeError: `decode` has stop strings.
    """
    ours, stage = decode or DecodeConfig(), Stage("test", preset(visibility))
    if ours.stop_strings:
        raise RecipeError(
            f"expected stop strings as a StopStringCriteria, got decode.stop_strings, {_WHERE}; "
            "fix: give generate(stopping_criteria=...)"
        )

    def run(
        stock: Any,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: GenerationConfig,
        **model_kwargs: Any,
    ) -> Tensor:
        if stock is not model.backbone.model:
            raise ModelError(
                f"expected the model inside the LatentModel, got another {type(stock).__name__}, {_WHERE}; "
                "fix: call generate of model.backbone.model"
            )
        _refuse_modes(generation_config, model_kwargs)
        settings = _settings(ours, generation_config, logits_processor, model_kwargs.get("attention_mask"))
        ends, stops = _ends_and_stops(stopping_criteria)
        new = int(generation_config.max_length) - input_ids.shape[1]
        rollouts = generate(
            model,
            prompt_batch(model, input_ids, model_kwargs),
            stage,
            replace(settings, max_new_tokens=new, stop_strings=stops),
            ends=ends,
            generator=_global_generator(input_ids.device) if settings.do_sample else None,
        )
        longest = max(len(row.ids) for row in rollouts)
        filler = _padding(model, generation_config)
        added = [row.ids + [filler] * (longest - len(row.ids)) for row in rollouts]
        return torch.cat([input_ids, input_ids.new_tensor(added)], 1)

    return run


def prompt_batch(model: LatentModel, input_ids: Tensor, inputs: dict[str, Any]) -> Batch:
    """Make a batch of our collator's form from the inputs of the stock model.

    Args:
        model: knows image and latent tokens.
        input_ids: (B, S), padded on the left.
        inputs: `attention_mask` (B, S), `position_ids`, and images: encoded by transformers, or as patches.

    Returns:
        ids, roles and positions, and the images.

    Raises:
        RecipeError: padding on the right, or images without what positions are computed from.
    """
    mask = inputs.get("attention_mask")
    real = torch.ones_like(input_ids, dtype=torch.bool) if mask is None else mask.bool()
    if not bool(real[:, -1].all()):
        raise RecipeError(
            f"expected prompts padded on the left, got padding at the end of one, {_WHERE}; "
            "fix: set padding_side='left' in the tokenizer"
        )
    roles = torch.full_like(input_ids, int(Role.PROMPT), dtype=torch.int8)
    for token in model.reasoner.tokens():
        if token.role is not None:
            roles[input_ids == model.token_ids[token.text]] = int(token.role)
    image = torch.eq(input_ids, model.image_token_id)
    roles[image] = int(Role.IMAGE)
    if bool(image.any()) and inputs.get("mm_token_type_ids") is None:
        raise RecipeError(
            f"expected mm_token_type_ids beside images, got none, {_WHERE}; "
            "fix: pass on what the processor gives, without which all positions are those of text"
        )
    return {
        "input_ids": input_ids,
        "roles": roles.masked_fill(~real, int(Role.PAD)),
        "position_ids": _positions(inputs["position_ids"], input_ids),
        **_images(inputs),
    }


def _positions(prepared: Tensor, ids_BS: Tensor) -> Tensor:
    """Rotary positions (3, B, S); transformers puts those of the text before them, or gives them alone."""
    if prepared.dim() == 2:
        return prepared.expand(3, *ids_BS.shape)
    return prepared[-3:].expand(3, *ids_BS.shape)


def _images(inputs: dict[str, Any]) -> dict[str, Tensor]:
    """Features (F, N, D) where transformers has encoded the images before it called us, or else patches."""
    encoded = (inputs.get("mm_encoder_outputs") or {}).get("image")
    if encoded is not None:
        return {"features": feature_levels(encoded)}
    return {key: inputs[key] for key in ("pixel_values", "image_grid_thw") if inputs.get(key) is not None}


def _refuse_modes(config: GenerationConfig, model_kwargs: dict[str, Any]) -> None:
    """Refuse what is not sampling or greedy search of ids from ids and images."""
    mode = config.get_generation_mode()
    if mode not in ("greedy_search", "sample"):
        raise _not_honoured("greedy search or sampling", str(getattr(mode, "value", mode)))
    asked = [name for name in _OUTPUTS if getattr(config, name, None)]
    if asked:
        raise _not_honoured("ids as the only output", asked[0])
    unknown = [name for name, value in model_kwargs.items() if name not in _INPUTS and value is not None]
    unknown += [name for name in model_kwargs.get("mm_encoder_outputs") or () if name != "image"]
    if unknown:
        raise _not_honoured("ids and images as inputs", unknown[0])
    cache = model_kwargs.get("past_key_values")
    if cache is not None and int(cache.get_seq_length()) > 0:
        raise _not_honoured("an empty cache", "past_key_values with tokens in it")
    if config.cache_implementation not in _CACHES:
        raise _not_honoured("cache_implementation dynamic or static", repr(config.cache_implementation))


def _settings(
    ours: DecodeConfig, config: GenerationConfig, processors: Iterable[Any], mask_BS: Tensor | None
) -> DecodeConfig:
    """Sampling and cache as transformers has prepared them."""
    found: dict[str, Any] = dict(_OFF)
    for processor in processors:
        if type(processor) not in _PROCESSORS or not _ignores_padding_alone(processor, mask_BS):
            raise _not_honoured("temperature, top_k, top_p, min_p and repetition_penalty", _name(processor))
        field, attribute = _PROCESSORS[type(processor)]
        found[field] = getattr(processor, attribute)
    cache: Any = _CACHES[config.cache_implementation]
    return replace(ours, do_sample=bool(config.do_sample), cache=cache, **found)


def _ignores_padding_alone(processor: Any, mask_BS: Tensor | None) -> bool:
    """Whether a repetition penalty sees the whole prompt, as ours does; newer versions name the padding."""
    ignored = getattr(processor, "prompt_ignore_length", None)
    if ignored is None or mask_BS is None:
        return ignored is None
    return isinstance(ignored, Tensor) and torch.equal(ignored, mask_BS.ne(0).int().argmax(1).to(ignored))


def _ends_and_stops(criteria: Iterable[Any]) -> tuple[list[int], list[str]]:
    """End ids and stop strings; the length is read from the config."""
    ends: list[int] = []
    stops: list[str] = []
    for one in criteria:
        if isinstance(one, EosTokenCriteria):
            ends += one.eos_token_id.tolist()
        elif isinstance(one, StopStringCriteria):
            stops += one.stop_strings
        elif not isinstance(one, MaxLengthCriteria):
            raise _not_honoured("end ids, stop strings and a length as stopping criteria", _name(one))
    return ends, stops


def _name(thing: object) -> str:
    return type(thing).__name__


def _padding(model: LatentModel, config: GenerationConfig) -> int:
    chosen = config.pad_token_id
    return int(model.processor.tokenizer.pad_token_id if chosen is None else chosen)


def _global_generator(device: torch.device) -> torch.Generator:
    """The generator that `torch.manual_seed` seeds."""
    if device.type == "cuda":
        number = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[number]
    return torch.default_generator


def _not_honoured(wanted: str, got: str) -> RecipeError:
    return RecipeError(f"expected {wanted}, got {got}, {_WHERE}; fix: leave it out")
