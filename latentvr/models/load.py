"""Load a backbone and put a method on it: local folders, hub ids, tiny models."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from latentvr.attention.kernels import resolve
from latentvr.attention.visibility import Visibility
from latentvr.config.schema import ModelConfig, ReasonerConfig
from latentvr.data.processor import Processor, first_line, load_processor
from latentvr.data.toy import corpus
from latentvr.errors import ModelError
from latentvr.models import tiny
from latentvr.models.backbone import Backbone
from latentvr.models.latent_model import LatentModel
from latentvr.models.qwen2_5_vl import Qwen25VLBackbone
from latentvr.models.qwen3_vl import Qwen3VLBackbone
from latentvr.reasoners.registry import reasoner_class

log = logging.getLogger(__name__)
FAMILIES: tuple[type[Backbone], ...] = (Qwen25VLBackbone, Qwen3VLBackbone)
TINY_BACKBONE = "tiny-backbone"
ASSETS = Path(__file__).parent / "assets"


def family(model_type: str, where: str) -> type[Backbone]:
    """Find the adapter for a `model_type`.

    Raises:
        ModelError: there is none.
    """
    for adapter in FAMILIES:
        if model_type in adapter.model_types:
            return adapter
    known = ", ".join(t for adapter in FAMILIES for t in adapter.model_types)
    raise ModelError(
        f"expected a model type of {known}, got {model_type!r}, at {where!r}; fix: use a model of these families"
    )


def local_path(path: str) -> str:
    """Give the folder behind the name of the shipped backbone; any other path as it is."""
    return str(ASSETS / TINY_BACKBONE) if path == TINY_BACKBONE else path


def load_config(config: ModelConfig) -> Any:
    """Load a model's config from a local folder or the hub.

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


def load_stock(config: ModelConfig) -> tuple[Any, Processor]:
    """Load the stock model and its processor.

    Raises:
        ModelError: files are missing, or the family is not supported.
    """
    if config.path in tiny.FAMILIES:
        model, processor = tiny.build(config.path, corpus())
        model = model.to(getattr(torch, config.dtype))
    else:
        from transformers import AutoModelForImageTextToText

        stock_config = load_config(config)
        family(stock_config.model_type, config.path)
        path = local_path(config.path)
        try:
            model = AutoModelForImageTextToText.from_pretrained(
                path,
                revision=config.revision,
                dtype=getattr(torch, config.dtype),
                trust_remote_code=config.trust_remote_code,
            )
        except (OSError, ValueError) as error:
            raise ModelError(
                f"expected complete weights at model.path, got {config.path!r} ({first_line(error)}); "
                "fix: download the model again"
            ) from error
        processor = load_processor(path, config.revision, config.trust_remote_code)
    processor.set_pixels(config.min_pixels, config.max_pixels)
    return model, processor


def choose_kernel(kernel: str, visibilities: list[Visibility]) -> str:
    """Choose one attention kernel that honours all visibilities of a run."""
    chosen = {resolve(kernel, visibility) for visibility in visibilities}
    return chosen.pop() if len(chosen) == 1 else "mask"


def load_model(
    config: ModelConfig, reasoner: ReasonerConfig, visibilities: list[Visibility], seed: int = 0
) -> LatentModel:
    """Load a backbone and put the method called `reasoner.name` on it.

    Args:
        config: the backbone.
        reasoner: the method and its options.
        visibilities: all that the run will use; the attention kernel must honour each.
        seed: seed of new rows and modules.

    Raises:
        ModelError: the backbone cannot be loaded.
        VisibilityError: the kernel asked for cannot honour a visibility.
    """
    stock, processor = load_stock(config)
    return attach(stock, processor, config, reasoner, visibilities, seed)


def attach(
    stock: Any,
    processor: Processor,
    config: ModelConfig,
    reasoner: ReasonerConfig,
    visibilities: list[Visibility],
    seed: int = 0,
) -> LatentModel:
    """Put a method on a loaded stock model; everything is frozen until `set_trainable`."""
    kernel = choose_kernel(config.attention, visibilities)
    log.info("attention: %s", kernel)
    stock.requires_grad_(False)
    if config.gradient_checkpointing:
        stock.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    backbone = family(stock.config.model_type, config.path)(stock, kernel)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LatentModel(backbone, reasoner_class(reasoner.name)(reasoner), processor, seed)
