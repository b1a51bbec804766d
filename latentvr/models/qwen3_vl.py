"""Qwen3-VL: interleaved three-axis rotary positions, deepstack features."""

from latentvr.models.backbone import Backbone


class Qwen3VLBackbone(Backbone):
    """Adapter of `Qwen3VLForConditionalGeneration`; deepstack levels travel in the feature tensor."""

    model_types = ("qwen3_vl",)
