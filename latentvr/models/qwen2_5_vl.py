"""Qwen2.5-VL: three-axis rotary positions, one feature level."""

from latentvr.models.backbone import Backbone


class Qwen25VLBackbone(Backbone):
    """Adapter of `Qwen2_5_VLForConditionalGeneration`."""

    model_types = ("qwen2_5_vl",)
