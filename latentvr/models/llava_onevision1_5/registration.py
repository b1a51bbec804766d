"""Make LLaVA-OneVision-1.5 known to the Auto classes of transformers, for local folders and hub ids alike."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming

from latentvr.models.llava_onevision1_5.configuration import LlavaOneVision15Config
from latentvr.models.llava_onevision1_5.modeling import LLaVAOneVision1_5_ForConditionalGeneration


def register() -> None:
    """Register config, model and names of weights; a second call changes nothing.

    Files have `visual.*`, `model.*` and `lm_head.weight` (released, and what is saved here), or
    `model.visual.*` and `model.language_model.*`; both are read.
    """
    AutoConfig.register(LlavaOneVision15Config.model_type, LlavaOneVision15Config, exist_ok=True)
    model = LLaVAOneVision1_5_ForConditionalGeneration
    AutoModelForImageTextToText.register(LlavaOneVision15Config, model, exist_ok=True)
    renamings = [
        WeightRenaming(r"^visual", "model.visual"),
        WeightRenaming(r"^model(?!\.(language_model|visual))", "model.language_model"),
    ]
    register_checkpoint_conversion_mapping(model.__name__, renamings, overwrite=True)
