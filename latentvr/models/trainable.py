"""What trains: adapters, the language model, the whole model, or the new token rows alone."""

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

    `lora` adds adapters where there are none yet; `language` and `all` merge existing adapters into the
    weights first. New token rows and the method's own modules train in every case; vision tower and
    projector train with `all` alone.

    Args:
        model: changed in place.
        kind: what trains beside rows and modules.
        lora: settings of new adapters.

    Raises:
        RecipeError: nothing would train.
    """
    model.requires_grad_(False)
    if kind in ("language", "all"):
        _merge_adapters(model)
        train_language(model)
        if kind == "all":
            model.base.float().requires_grad_(True)
    elif kind == "lora":
        if not isinstance(model.base, PeftModel):
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


def _merge_adapters(model: LatentModel) -> None:
    """Add adapters to the weights, in float32: half precision would round most of what they learned away."""
    if isinstance(model.base, PeftModel):
        model.backbone.language_model.float()
        model.base = model.base.merge_and_unload()


def train_language(model: LatentModel) -> None:
    """Unfreeze the language model and its head, in float32 as optimisers need."""
    language = model.backbone.language_model
    language.float().requires_grad_(True)
    model.backbone.model.lm_head.float().requires_grad_(True)


def count_parameters(model: LatentModel) -> tuple[int, int]:
    """Number of parameters, and of those that train."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trains in sizes if trains)
