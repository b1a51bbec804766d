"""Models of published shapes: copies of public configs, and such models with random weights.

They size a run before anything is downloaded, and are what speed and memory are measured on.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from latentvr.config.shipped import shipped
from latentvr.errors import ModelError
from latentvr.models.llava_onevision1_5.registration import register

register()
#: Blocks of the vision tower that hand features to the decoder, at most, in a model cut to few layers.
DEEPSTACK = 3


def published_config(path: str) -> Any:
    """Read the copy of a model's public config.

    Args:
        path: hub id, such as `Qwen/Qwen3-VL-4B-Instruct`.

    Returns:
        A config of transformers, or None where there is no copy.
    """
    file = shipped(f"models/{path.replace('/', '--')}.json")
    return None if file is None else AutoConfig.from_pretrained(file)


def random_model(
    path: str,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int = 0,
    layers: int | None = None,
) -> Any:
    """Build a model of a published shape with random weights, where it is going to be used.

    Args:
        path: hub id.
        dtype: number format of the weights; they are made in it, never in a wider one.
        device: where they are made.
        seed: seed of the weights; the generators are left as they were.
        layers: depth of the text decoder and of the vision tower; None keeps those published.

    Returns:
        The stock model.

    Raises:
        ModelError: there is no copy of the config.
    """
    config = published_config(path)
    if config is None:
        raise ModelError(
            f"expected a model with a config in recipes/models, got {path!r}, at random_model; "
            "fix: add the model's public config there"
        )
    if layers is not None:
        cut(config, layers)
    place = torch.device(device)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []), place:
        torch.manual_seed(seed)
        return AutoModelForImageTextToText.from_config(config, dtype=dtype)


def cut(config: Any, layers: int) -> None:
    """Leave the first `layers` layers of the text decoder and of the vision tower; the config is changed."""
    text, vision = config.get_text_config(), config.vision_config
    text.num_hidden_layers = vision.depth = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    if hasattr(vision, "deepstack_visual_indexes"):
        vision.deepstack_visual_indexes = list(range(min(layers, DEEPSTACK)))
    if hasattr(vision, "fullatt_block_indexes"):
        vision.fullatt_block_indexes = [layers - 1]
