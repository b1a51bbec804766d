"""Entry point of lmms-eval (group `lmms_eval.models`): names our model class."""

from __future__ import annotations

from typing import Any


def manifests() -> list[Any]:
    """Name the model id `latentvr` and its class.

    Returns:
        One `ModelManifest` of lmms-eval, which calls this while it looks for models.
    """
    from lmms_eval.models.registry_v2 import ModelManifest  # type: ignore[import-not-found]

    chat = "latentvr.integrations.lmms_eval_model.LatentVR"
    return [ModelManifest(model_id="latentvr", chat_class_path=chat)]
