"""What a recipe would do: every setting with its origin, sizes, steps and tokens, without training."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model

from latentvr.attention.roles import Role
from latentvr.config.load import Resolved
from latentvr.config.rules import missing_files
from latentvr.config.schema import ModelConfig, Recipe
from latentvr.data import toy
from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.processor import Processor, load_processor
from latentvr.errors import ModelError, UserError
from latentvr.models import tiny
from latentvr.models.load import family, load_config, local_path
from latentvr.models.trainable import peft_config
from latentvr.reasoners.base import LatentReasoner
from latentvr.reasoners.registry import reasoner_class
from latentvr.runs.sft import stage_runs
from latentvr.runs.sources import open_split

SAMPLED = 64
PUBLISHED = Path(__file__).parents[1] / "models" / "configs"


def describe(resolved: Resolved) -> str:
    """Describe a run in text: settings with their origin, parameters, steps, tokens per sample.

    Args:
        resolved: a checked recipe.

    Returns:
        Lines for a terminal.

    Raises:
        ModelError: the model's config is neither at hand nor among the published ones.
    """
    recipe = resolved.recipe
    reasoner = reasoner_class(recipe.reasoner.name)(recipe.reasoner)
    config, origin = model_shape(recipe.model)
    with torch.device("meta"):
        from transformers import AutoModelForImageTextToText

        stock = AutoModelForImageTextToText.from_config(config)
    lines = [*settings(resolved), "", f"model: {type(stock).__name__}, config from {origin}"]
    lines += [*parameters(stock, recipe, reasoner), "", *samples(resolved, stock, reasoner)]
    return "\n".join(lines)


def settings(resolved: Resolved) -> Iterator[str]:
    """One line per key: value and origin."""
    rows = list(_flat(dataclasses.asdict(resolved.recipe)))
    width = max(len(key) for key, _ in rows)
    values = max(min(40, len(str(value))) for _, value in rows)
    for key, value in rows:
        origin = resolved.provenance.get(key, "default")
        yield f"{key:<{width}}  {value!s:<{values}}  {origin}"


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walk a nested mapping as full keys and values."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "null" if value is None else value


def model_shape(config: ModelConfig) -> tuple[Any, str]:
    """The model's config, and where it comes from.

    A hub model that cannot be reached is described by the copy of its published config, if there is one.

    Args:
        config: the recipe's section.

    Returns:
        A config of transformers, and its origin in words.

    Raises:
        ModelError: there is neither.
    """
    if config.path in tiny.FAMILIES:
        return tiny.FAMILIES[config.path](tiny.build_processor(toy.corpus())), "the library"
    published = PUBLISHED / f"{config.path.replace('/', '--')}.json"
    try:
        found = load_config(config)
    except ModelError:
        if not published.is_file():
            raise
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(published), "the library's copy of the published one"
    family(found.model_type, config.path)
    return found, config.path


def parameters(stock: Any, recipe: Recipe, reasoner: LatentReasoner) -> Iterator[str]:
    """Parameters in all and by stage those that train, counted without allocating any."""
    total = sum(p.numel() for p in stock.parameters())
    width = stock.config.get_text_config().hidden_size
    tokens = reasoner.tokens()
    untied = stock.lm_head.weight is not stock.get_input_embeddings().weight
    own = (len(tokens) + untied * sum(token.sampled for token in tokens)) * width
    own += sum(p.numel() for m in reasoner.modules(width).values() for p in m.parameters())
    language = {id(p): p.numel() for p in stock.model.language_model.parameters()}
    language.update({id(p): p.numel() for p in stock.lm_head.parameters()})
    with torch.device("meta"):
        adapted = get_peft_model(stock, peft_config(recipe.model.lora))
    lora = sum(p.numel() for name, p in adapted.named_parameters() if "lora_" in name)
    whole = sum(language.values())
    trains = {"lora": lora + own, "language": whole + own, "all": total + own, "tokens": own}
    yield f"parameters: {total:,} in the backbone"
    for name, stage in recipe.stages.items():
        kind = stage.trainable or recipe.optim.trainable
        share = trains[kind] / (total + own + (lora if kind == "lora" else 0))
        yield f"stage {name}: {trains[kind]:,} train ({kind}), {100 * share:.3f} % of all"


def samples(resolved: Resolved, stock: Any, reasoner: LatentReasoner) -> Iterator[str]:
    """Steps per stage and tokens per sample, as far as data and processor are at hand."""
    recipe = resolved.recipe
    missing = missing_files(resolved)
    if missing:
        yield f"steps and tokens per sample: not known, {missing[0]}"
        return
    source = open_split(recipe.data, "train")
    yield f"training records: {len(source.records):,}"
    for run in stage_runs(recipe, len(source.records)):
        yield f"stage {run.stage.name}: {run.steps:,} optimiser steps under {run.stage.visibility.name}"
    try:
        processor = processor_of(recipe.model)
    except UserError as error:
        yield f"tokens per sample: not known, {error}"
        return
    encoder = encoder_of(stock, processor, reasoner, recipe)
    yield from token_counts([encoder.encode(r, source.images(r)) for r in source.records[:SAMPLED]])


def processor_of(config: ModelConfig) -> Processor:
    """Load the processor that a run would use."""
    if config.path in tiny.FAMILIES:
        processor = tiny.build_processor(toy.corpus())
    else:
        processor = load_processor(local_path(config.path), config.revision, config.trust_remote_code)
    processor.set_pixels(config.min_pixels, config.max_pixels)
    return processor


def encoder_of(stock: Any, processor: Processor, reasoner: LatentReasoner, recipe: Recipe) -> Encoder:
    """Encode as training would; of the model only its shape is asked, so that it may lie on the meta device."""
    tokens = reasoner.tokens()
    processor.add_tokens([token.text for token in tokens])
    backbone = family(stock.config.model_type, recipe.model.path)(stock, "mask")
    return Encoder(processor, reasoner.layout, tokens, backbone.positions, recipe.data.max_length)


def token_counts(encoded: list[EncodedSample]) -> Iterator[str]:
    """Mean and largest number of tokens, and the mean by role."""
    lengths = [len(s.ids) for s in encoded]
    roles = Counter(role for s in encoded for role in s.roles.tolist())
    parts = ", ".join(f"{r.name.lower()} {roles[r] / len(encoded):.1f}" for r in Role if roles[r])
    mean = sum(lengths) / len(lengths)
    size = f"mean {mean:.1f}, largest {max(lengths)}"
    yield f"tokens per sample: {size} ({parts}; first {len(lengths)} records)"
