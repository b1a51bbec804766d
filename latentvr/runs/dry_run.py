"""What a recipe would do: every setting with its origin, sizes, steps and tokens, without training."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import inject_adapter_in_model

from latentvr.attention.roles import Role
from latentvr.config.load import Resolved
from latentvr.config.rules import missing_files
from latentvr.config.schema import ModelConfig, Recipe, Trainable
from latentvr.data import toy
from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.processor import Processor, load_processor
from latentvr.data.record import Source
from latentvr.errors import ModelError, UserError
from latentvr.models import tiny
from latentvr.models.continued import base_of
from latentvr.models.load import family, load_config, local_path
from latentvr.models.memory.shape import shape_of
from latentvr.models.published_shapes import published_config
from latentvr.models.trainable import peft_config
from latentvr.models.weights import ADAPTER
from latentvr.reasoners.base import LatentReasoner
from latentvr.reasoners.registry import reasoner_class
from latentvr.rl.rounds import rounds
from latentvr.runs.begin import start_from
from latentvr.runs.memory import Numbers, Plan, memory_lines
from latentvr.runs.packing import counted
from latentvr.runs.sft import stage_runs
from latentvr.runs.sources import open_split

SAMPLED = 64
#: Gives the lines on memory for encoded records, which may be none.
Needs = Callable[[list[EncodedSample]], Iterator[str]]


def describe(resolved: Resolved, processes: int = 1) -> str:
    """Describe a supervised run in text: settings with their origin, sizes, steps, tokens and memory.

    Args:
        resolved: a checked recipe.
        processes: of the launch, which may share what the memory holds.

    Returns:
        Lines for a terminal.

    Raises:
        ModelError: the model's config is neither at hand nor among the published ones.
    """
    recipe = resolved.recipe
    stock, reasoner, lines = _shapes(resolved)
    shape = shape_of(stock)  # before it gets adapters
    sizes = parameters(stock, recipe, reasoner)
    kinds = {name: stage.trainable or recipe.optim.trainable for name, stage in recipe.stages.items()}
    lines += [f"stage {name}: {sizes.of(kind)}" for name, kind in kinds.items()]

    def needs(found: list[EncodedSample]) -> Iterator[str]:
        return memory_lines(Plan(recipe, shape, Numbers(sizes.own, sizes.lora), found, processes))

    return "\n".join([*lines, "", *samples(resolved, stock, reasoner, needs, processes)])


def describe_rl(resolved: Resolved, processes: int = 1) -> str:
    """Describe a run of reinforcement in text: settings, sizes, reference, rewards, rounds, prompts, memory.

    Args:
        resolved: a checked recipe.
        processes: of the launch, which may share what the memory holds.

    Returns:
        Lines for a terminal.

    Raises:
        ModelError: the model's config is neither at hand nor among the published ones.
    """
    recipe = resolved.recipe
    stock, reasoner, lines = _shapes(resolved)
    shape = shape_of(stock)  # before it gets adapters
    sizes = parameters(stock, recipe, reasoner)
    lines += [f"policy: {sizes.of(recipe.optim.trainable)}", f"reference: {reference(recipe, sizes)}"]
    weights = recipe.rl.reward_weights or [1.0] * len(recipe.rl.rewards)
    weighed = (f"{w:g} x {name}" for name, w in zip(recipe.rl.rewards, weights, strict=True))
    numbers = Numbers(sizes.own, sizes.lora, kept_twice(recipe, sizes))

    def needs(found: list[EncodedSample]) -> Iterator[str]:
        return memory_lines(Plan(recipe, shape, numbers, found, processes), rl=True)

    lines += [f"reward: {' + '.join(weighed)}", "", *rollouts(resolved, stock, reasoner, needs, processes)]
    return "\n".join(lines)


def _shapes(resolved: Resolved) -> tuple[Any, LatentReasoner, list[str]]:
    """The stock model without memory, the method, and the lines that every description begins with."""
    recipe = resolved.recipe
    start_from(recipe)
    reasoner = reasoner_class(recipe.reasoner.name)(recipe.reasoner)
    config, origin = model_shape(recipe.model)
    with torch.device("meta"):
        from transformers import AutoModelForImageTextToText

        stock = AutoModelForImageTextToText.from_config(config)
    lines = [*settings(resolved), "", f"model: {type(stock).__name__}, config from {origin}"]
    total = sum(p.numel() for p in stock.parameters())
    return stock, reasoner, [*lines, f"parameters: {total:,} in the backbone"]


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
    base = base_of(config)
    if base is not None:
        found, origin = model_shape(base)
        return found, f"{origin}, the backbone of {config.path}"
    if config.path in tiny.FAMILIES:
        return tiny.FAMILIES[config.path](tiny.build_processor(toy.corpus())), "the library"
    try:
        found = load_config(config)
    except ModelError:
        published = published_config(config.path)
        if published is None:
            raise
        return published, "the library's copy of the published one"
    family(found.model_type, config.path)
    return found, config.path


@dataclass(frozen=True)
class Sizes:
    """Numbers of parameters: of the backbone, the method's rows and modules, adapters, and what trains."""

    total: int
    own: int
    lora: int
    trains: dict[Trainable, int]

    def of(self, kind: Trainable) -> str:
        """Say how many train."""
        share = self.trains[kind] / (self.total + self.own + (self.lora if kind == "lora" else 0))
        return f"{self.trains[kind]:,} train ({kind}), {100 * share:.3f} % of all"


def parameters(stock: Any, recipe: Recipe, reasoner: LatentReasoner) -> Sizes:
    """Count parameters, without allocating any."""
    total = sum(p.numel() for p in stock.parameters())
    width = stock.config.get_text_config().hidden_size
    tokens = reasoner.tokens()
    untied = stock.lm_head.weight is not stock.get_input_embeddings().weight
    own = (len(tokens) + untied * sum(token.sampled for token in tokens)) * width
    own += sum(p.numel() for m in reasoner.modules(width).values() for p in m.parameters())
    language = {id(p): p.numel() for p in stock.model.language_model.parameters()}
    language.update({id(p): p.numel() for p in stock.lm_head.parameters()})
    with torch.device("meta"):
        # Without PEFT's wrapper, which asks transformers for a property that is going to be removed.
        adapted = inject_adapter_in_model(peft_config(recipe.model.lora), stock)
    lora = sum(p.numel() for name, p in adapted.named_parameters() if "lora_" in name)
    whole = sum(language.values())
    return Sizes(
        total, own, lora, {"lora": lora + own, "language": whole + own, "all": total + own, "tokens": own}
    )


def reference(recipe: Recipe, sizes: Sizes) -> str:
    """Say what is kept of the weights at the start, in float32 as they train."""
    kept = kept_twice(recipe, sizes)
    told = f"{kept:,} values are kept twice, {4 * kept:,} bytes; the rest is shared"
    return told if recipe.rl.beta else "none, rl.beta is 0"


def kept_twice(recipe: Recipe, sizes: Sizes) -> int:
    """Values of the reference that training changes."""
    if recipe.rl.beta == 0:
        return 0
    kind = recipe.optim.trainable
    begun = (Path(recipe.model.path) / ADAPTER).is_file()  # adapters that begin with the run are turned off
    return sizes.own if kind == "lora" and not begun else sizes.trains[kind]


def samples(
    resolved: Resolved, stock: Any, reasoner: LatentReasoner, needs: Needs, processes: int
) -> Iterator[str]:
    """Steps per stage, tokens per sample and memory, as far as data and processor are at hand."""
    recipe, missing = resolved.recipe, missing_files(resolved)
    if missing:
        yield f"steps and tokens per sample: not known, {missing[0]}"
        yield from needs([])
        return
    source = open_split(recipe.data, "train")
    yield f"training records: {len(source.records):,}"
    items: int | Callable[[int], int] | None = len(source.records)
    if recipe.data.packing:
        items, told = counted(
            recipe, source, lambda: encoder_of(stock, processor_of(recipe.model), reasoner, recipe)
        )
        yield told
    for run in [] if items is None else stage_runs(recipe, items, processes):
        yield f"stage {run.stage.name}: {run.steps:,} optimiser steps under {run.stage.visibility.name}"
    yield from _token_lines(resolved, source, stock, reasoner, needs, with_answer=True)


def rollouts(
    resolved: Resolved, stock: Any, reasoner: LatentReasoner, needs: Needs, processes: int
) -> Iterator[str]:
    """Rounds and steps of reinforcement, tokens per prompt and memory, as far as data are at hand."""
    recipe, missing = resolved.recipe, missing_files(resolved)
    found, where = rounds(recipe, 0), f"each of {processes} processes" if processes > 1 else "one process"
    yield (
        f"buffer: {found.prompts:,} prompts x {recipe.rl.num_generations} = {found.completions:,} "
        f"completions on {where}, for {found.updates:,} optimiser steps"
    )
    if missing:
        yield f"steps and tokens per prompt: not known, {missing[0]}"
        yield from needs([])
        return
    source = open_split(recipe.data, "train")
    yield f"prompts: {len(source.records):,}"
    steps = rounds(recipe, len(source.records), processes).steps
    yield f"{steps:,} optimiser steps under {recipe.decode.visibility}"
    yield from _token_lines(resolved, source, stock, reasoner, needs, with_answer=False)


def _token_lines(
    resolved: Resolved, source: Source, stock: Any, reasoner: LatentReasoner, needs: Needs, with_answer: bool
) -> Iterator[str]:
    """Tokens of the first records, with or without their answers, and the memory that they need."""
    recipe, what = resolved.recipe, "sample" if with_answer else "prompt"
    try:
        processor = processor_of(recipe.model)
    except UserError as error:
        yield f"tokens per {what}: not known, {error}"
        yield from needs([])
        return
    encoder = encoder_of(stock, processor, reasoner, recipe)
    encoded = [encoder.encode(r, source.images(r), with_answer) for r in source.records[:SAMPLED]]
    yield f"tokens per {what}: {token_counts(encoded)}"
    yield from needs(encoded)


def processor_of(config: ModelConfig) -> Processor:
    """Load the processor that a run would use."""
    if config.path in tiny.FAMILIES:
        processor = tiny.build_processor(toy.corpus())
    else:
        processor = load_processor(local_path(config.path), config.revision, config.trust_remote_code)
    processor.set_pixels(config.min_pixels, config.max_pixels)
    return processor


def encoder_of(stock: Any, processor: Processor, reasoner: LatentReasoner, recipe: Recipe) -> Encoder:
    """Encode as training would; only the model's shape is asked for, so it may lie on the meta device."""
    tokens = reasoner.tokens()
    processor.add_tokens([token.text for token in tokens])
    backbone = family(stock.config.model_type, recipe.model.path)(stock, "mask")
    return Encoder(processor, reasoner.layout, tokens, backbone.positions, recipe.data.max_length)


def token_counts(encoded: list[EncodedSample]) -> str:
    """Mean and largest number of tokens, and the mean by role."""
    lengths, count = [len(s.ids) for s in encoded], len(encoded)
    roles = Counter(role for s in encoded for role in s.roles.tolist())
    parts = ", ".join(f"{r.name.lower()} {roles[r] / count:.1f}" for r in Role if roles[r])
    return f"mean {sum(lengths) / count:.1f}, largest {max(lengths)} ({parts}; first {count} records)"
