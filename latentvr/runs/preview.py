"""The samples of a recipe as the model would get them, without loading weights."""

from __future__ import annotations

import torch

from latentvr.config.schema import Recipe
from latentvr.data.dataset import EncodedDataset
from latentvr.reasoners.registry import reasoner_class
from latentvr.runs.dry_run import encoder_of, model_shape, processor_of
from latentvr.runs.sources import open_split


def dataset_of(recipe: Recipe) -> EncodedDataset:
    """Build the training data of a recipe; only tokenizer, image settings and the model's shape are read.

    Args:
        recipe: all settings.

    Returns:
        The data of the split `train`; a sample is encoded when asked for.

    Raises:
        UserError: data or processor are missing or wrong.
    """
    from transformers import AutoModelForImageTextToText

    reasoner = reasoner_class(recipe.reasoner.name)(recipe.reasoner)
    config, _ = model_shape(recipe.model)
    with torch.device("meta"):
        stock = AutoModelForImageTextToText.from_config(config)
    encoder = encoder_of(stock, processor_of(recipe.model), reasoner, recipe)
    return EncodedDataset(open_split(recipe.data, "train"), encoder)
