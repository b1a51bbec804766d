"""What trains: adapters, the language model, or the new token rows alone."""

from __future__ import annotations

from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model

from latentvr.config.schema import LoraConfig, Trainable
from latentvr.errors import RecipeError
from latentvr.models.backbone import lora_pattern
from latentvr.models.latent_model import LatentModel


def peft_config(lora: LoraConfig) -> PeftLoraConfig:
    """Translate the recipe's section for PEFT, limited to the language model."""
    return PeftLoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora_pattern(lora.modules),
    )


def set_trainable(model: LatentModel, kind: Trainable, lora: LoraConfig) -> None:
    """Freeze and unfreeze parameters for a stage.

    `lora` adds adapters where there are none yet; `language` merges existing adapters into the weights
    first. New token rows and the method's own modules train in every case; the vision tower never does.

    Args:
        model: changed in place.
        kind: what trains beside rows and modules.
        lora: settings of new adapters.

    Raises:
        RecipeError: nothing would train.
    """
    has_adapters = isinstance(model.base, PeftModel)
    model.requires_grad_(False)
    if kind == "language":
        if has_adapters:
            model.base = model.base.merge_and_unload()
        train_language(model)
    elif kind == "lora":
        if not has_adapters:
            model.base = get_peft_model(model.base, peft_config(lora))
        for name, parameter in model.base.named_parameters():
            parameter.requires_grad_("lora_" in name)
    if model.rows is not None:
        model.rows.requires_grad_(True)
    model.extra.requires_grad_(True)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError(
            f"expected something to train, got nothing, at optim.trainable={kind}: "
            "the method has no token rows; fix: use optim.trainable=lora or language"
        )


def train_language(model: LatentModel) -> None:
    """Unfreeze the language model and its head, in float32 as optimisers need."""
    language = model.backbone.language_model
    language.float().requires_grad_(True)
    model.backbone.model.lm_head.float().requires_grad_(True)


def count_parameters(model: LatentModel) -> tuple[int, int]:
    """Number of parameters, and of those that train."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trains in sizes if trains)
