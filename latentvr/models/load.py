"""Load a backbone and put a method on it: local folders, hub ids, tiny models."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from latentvr.attention.kernels import resolve
from latentvr.attention.visibility import Visibility
from latentvr.config.schema import ModelConfig, ReasonerConfig
from latentvr.data.processor import Processor, first_line, load_processor
from latentvr.data.toy import corpus
from latentvr.errors import ModelError
from latentvr.models import tiny
from latentvr.models.backbone import Backbone
from latentvr.models.latent_model import LatentModel
from latentvr.models.llava_onevision1_5.backbone import LlavaOneVision15Backbone
from latentvr.models.llava_onevision1_5.registration import register
from latentvr.models.load_report import explained
from latentvr.models.qwen2_5_vl import Qwen25VLBackbone
from latentvr.models.qwen3_vl import Qwen3VLBackbone
from latentvr.reasoners.registry import reasoner_class

log = logging.getLogger(__name__)
BACKBONES: tuple[type[Backbone], ...] = (Qwen25VLBackbone, Qwen3VLBackbone, LlavaOneVision15Backbone)
register()
TINY_BACKBONE = "tiny-backbone"
ASSETS = Path(__file__).parent / "assets"


def family(model_type: str, where: str) -> type[Backbone]:
    """Find the adapter for a `model_type`.

    Args:
        model_type: from the model's config.
        where: how the error message calls the model.

    Returns:
        The adapter's class.

    Raises:
        ModelError: there is none.
    """
    for adapter in BACKBONES:
        if model_type in adapter.model_types:
            return adapter
    known = ", ".join(t for adapter in BACKBONES for t in adapter.model_types)
    raise ModelError(
        f"expected a model type of {known}, got {model_type!r}, at {where!r}; "
        "fix: use a model of these families"
    )


def is_built_in(path: str) -> bool:
    """Whether a path is a name of the library's own models, whatever folders there are."""
    return path in tiny.FAMILIES or path == TINY_BACKBONE


def local_path(path: str) -> str:
    """Give the folder behind the name of the shipped backbone; any other path as it is."""
    return str(ASSETS / TINY_BACKBONE) if path == TINY_BACKBONE else path


def load_config(config: ModelConfig) -> Any:
    """Load a model's config from a local folder or the hub.

    Args:
        config: the recipe's section.

    Returns:
        A config of transformers.

    Raises:
        ModelError: it cannot be read.
    """
    from transformers import AutoConfig

    path = local_path(config.path)
    try:
        return AutoConfig.from_pretrained(
            path, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"expected a model folder or a reachable hub id at model.path, got {config.path!r} "
            f"({first_line(error)}); fix: download the model and give its folder"
        ) from error


def load_stock(config: ModelConfig, apart: Collection[str] = ()) -> tuple[Any, Processor]:
    """Load the stock model and its processor.

    Args:
        config: the recipe's section.
        apart: names of tensors in the files that are no part of the stock model and have their use elsewhere.

    Returns:
        The model in `config.dtype` on the CPU, and the processor with the section's image size.

    Raises:
        ModelError: files are missing, or the family is not supported.
    """
    if config.path in tiny.FAMILIES:
        model, processor = tiny.build(config.path, corpus())
        model = model.to(getattr(torch, config.dtype))
    else:
        model = _load_weights(config, apart)
        path = local_path(config.path)
        processor = load_processor(path, config.revision, config.trust_remote_code)
    processor.set_pixels(config.min_pixels, config.max_pixels)
    return model, processor


def _load_weights(config: ModelConfig, apart: Collection[str]) -> Any:
    """Load the stock model from a folder or the hub, every parameter of it."""
    from transformers import AutoModelForImageTextToText

    family(load_config(config).model_type, config.path)
    try:
        with explained(apart) as info:
            model, report = AutoModelForImageTextToText.from_pretrained(
                local_path(config.path),
                revision=config.revision,
                dtype=getattr(torch, config.dtype),
                trust_remote_code=config.trust_remote_code,
                output_loading_info=True,
            )
            info.update(report)
    except (OSError, RuntimeError, SafetensorError, ValueError) as error:
        raise ModelError(
            f"expected complete weights at model.path, got {config.path!r} ({first_line(error)}); "
            "fix: download the model again"
        ) from error
    # transformers fills what a file lacks with random numbers and goes on.
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"expected complete weights at model.path, got none for {missing[0]!r} and {len(missing) - 1} "
            f"others in {config.path!r}; fix: download the model again"
        )
    return model


def choose_kernel(kernel: str, visibilities: list[Visibility], packed: bool = False) -> str:
    """Choose one kernel that honours all visibilities of a run, and packed rows where it has them."""
    chosen = {resolve(kernel, visibility, packed=packed) for visibility in visibilities}
    return chosen.pop() if len(chosen) == 1 else "mask"


def load_model(
    config: ModelConfig,
    reasoner: ReasonerConfig,
    visibilities: list[Visibility],
    seed: int = 0,
    fresh: bool = True,
) -> LatentModel:
    """Load a backbone and put the method called `reasoner.name` on it.

    Args:
        config: the backbone.
        reasoner: the method and its options.
        visibilities: all that the run will use; the attention kernel must honour each.
        seed: seed of new rows and modules.
        fresh: False where a checkpoint's values follow.

    Returns:
        The model, everything frozen until `set_trainable`.

    Raises:
        ModelError: the backbone cannot be loaded.
        VisibilityError: the kernel asked for cannot honour a visibility.
    """
    stock, processor = load_stock(config)
    return attach(stock, processor, config, reasoner, visibilities, seed, fresh)


def attach(
    stock: Any,
    processor: Processor,
    config: ModelConfig,
    reasoner: ReasonerConfig,
    visibilities: list[Visibility],
    seed: int = 0,
    fresh: bool = True,
) -> LatentModel:
    """Put a method on a loaded stock model; everything is frozen until `set_trainable`.

    Without `fresh`, a checkpoint's values are expected to follow.
    """
    kernel = choose_kernel(config.attention, visibilities)
    log.info("attention: %s", kernel)
    stock.requires_grad_(False)
    if config.gradient_checkpointing:
        stock.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    backbone = family(stock.config.model_type, config.path)(stock, kernel)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LatentModel(backbone, reasoner_class(reasoner.name)(reasoner), processor, seed)
    if fresh:
        model.reasoner.begin()
    return model.requires_grad_(False)
