"""Go on from adapters or token rows that this library trained: `model.path` names their checkpoint.

The checkpoint's card says which backbone they belong to; that may be such a checkpoint again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model

from latentvr.config.schema import LoraConfig, ModelConfig, ReasonerConfig
from latentvr.data.processor import first_line
from latentvr.errors import CheckpointError
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import is_built_in
from latentvr.models.trainable import peft_config
from latentvr.models.weights import CARD, load_weights, read_card


def base_of(config: ModelConfig, whole: bool = False) -> ModelConfig | None:
    """Find the backbone of adapters or token rows.

    Args:
        config: the recipe's section.
        whole: also that of a checkpoint which holds the whole model.

    Returns:
        The same section with the path and revision of the backbone that a checkpoint's card names; None where
        `config.path` is no such checkpoint of ours.

    Raises:
        CheckpointError: the card is damaged.
    """
    folder = Path(config.path)
    if not (folder / CARD).is_file():
        return None
    card = read_card(folder)
    if card["weights"] == "language" and not whole:
        return None
    return replace(config, path=card["model"]["path"], revision=card["model"]["revision"])


def lasting(config: ModelConfig, whole: bool) -> ModelConfig:
    """Settings of the model that a new checkpoint needs: nothing whose weights it holds itself.

    Args:
        config: the recipe's section; `path` may be a checkpoint that went on training.
        whole: whether the new checkpoint holds the whole model.

    Returns:
        The same section with the first model behind it that is no such checkpoint. A folder is named by its
        full path, so that the working folder does not matter.
    """
    base = base_of(config, whole)
    if base is not None:
        return lasting(base, whole)
    folder = Path(config.path)
    named = folder.is_dir() and not is_built_in(config.path)
    return replace(config, path=str(folder.resolve())) if named else config


def require_method(folder: Path, reasoner: ReasonerConfig) -> None:
    """Refuse adapters of another method: its tokens are not those of this one.

    Args:
        folder: the checkpoint.
        reasoner: the method and its options.

    Raises:
        CheckpointError: the card names another method.
    """
    there = read_card(folder)["reasoner"]["name"]
    if there != reasoner.name:
        raise CheckpointError(
            f"expected adapters of the method {reasoner.name!r}, got those of {there!r}, at {str(folder)!r}; "
            f"fix: set reasoner.name={there}, or start from a wholly trained model"
        )


def put_weights(model: LatentModel, folder: Path, lora: LoraConfig) -> None:
    """Put adapters, token rows and modules into a model; modules that the method may begin anew may lack.

    Args:
        model: on the backbone of the checkpoint.
        folder: the checkpoint.
        lora: the recipe's section; the adapters are trained on with its dropout.

    Raises:
        CheckpointError: the adapters are of another rank, scale or place than the recipe's.
    """
    if read_card(folder)["weights"] == "lora":
        wanted, there = peft_config(lora), _adapters(folder)
        pairs = {
            "r": (wanted.r, there.r),
            "alpha": (wanted.lora_alpha, there.lora_alpha),
            "modules": (wanted.target_modules, there.target_modules),
        }
        for name, (asked, found) in pairs.items():
            if asked != found:
                raise CheckpointError(
                    f"expected model.lora.{name} as in the adapters ({found}), got {asked}, "
                    f"at {str(folder)!r}; fix: set model.lora.{name} to theirs"
                )
        if not isinstance(model.base, PeftModel):  # its adapters go on from those of another such checkpoint
            model.base = get_peft_model(model.base, wanted)
    load_weights(model, folder, anew=True)


def _adapters(folder: Path) -> PeftLoraConfig:
    """Read the settings of adapters."""
    try:
        return PeftLoraConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"expected the settings of LoRA adapters, got: {first_line(error)}, at {str(folder)!r}; "
            "fix: use another checkpoint"
        ) from error
