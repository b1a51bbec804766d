"""Load a trained model by folder or id, and answer questions with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from latentvr.attention.visibility import BOTTLENECK, CAUSAL, preset
from latentvr.config.schema import LoraConfig, ModelConfig, ReasonerConfig
from latentvr.data.collate import collate
from latentvr.data.encode import EncodedSample
from latentvr.data.record import Record
from latentvr.decoding.loop import generate
from latentvr.errors import CheckpointError
from latentvr.evaluation.evaluate import encoder_for
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import load_model
from latentvr.models.weights import CARD, load_weights, read_card
from latentvr.reasoners.base import Stage
from latentvr.reasoners.registry import config_class
from latentvr.trainers import checkpoint


@dataclass(frozen=True)
class Completion:
    """An answer.

    Attributes:
        text: what the model wrote, without control tokens.
        ids: its token ids, without the end token.
        log_probs: natural log-probability of each id.
        latents: hidden states at the latent positions of the prompt (K, D), after the final norm.
    """

    text: str
    ids: list[int]
    log_probs: list[float]
    latents: Tensor


class Assistant:
    """A model that is ready to answer.

    Args:
        model: the underlying module; it is put in evaluation mode.
    """

    def __init__(self, model: LatentModel) -> None:
        self.model = model.eval()
        self._encoder = encoder_for(model)

    def generate(
        self,
        prompt: str,
        images: Sequence[Image.Image] = (),
        max_new_tokens: int = 128,
        visibility: str = "causal",
    ) -> Completion:
        """Answer one prompt.

        Args:
            prompt: the user's text; `<image>` marks where images go, otherwise they come first.
            images: in prompt order.
            max_new_tokens: longest answer.
            visibility: what each role may see; `bottleneck` shows images through the latents alone.

        Returns:
            Text, token ids, log-probabilities and latents of the answer.

        Raises:
            RecordError: the prompt holds control tokens, or does not fit the images.
        """
        record = Record("prompt", "", "test", tuple(str(i) for i in range(len(images))), prompt, "")
        rgb = [image.convert("RGB") for image in images]
        sample: EncodedSample = self._encoder.encode(record, rgb, with_answer=False, where="the prompt")
        tokenizer = self.model.processor.tokenizer
        batch = collate([sample], tokenizer.pad_token_id, "left")
        device = self.model.backbone.device
        batch = {k: v.to(device) if torch.is_tensor(v) else v for k, v in batch.items()}
        written = generate(self.model, batch, Stage("test", preset(visibility)), max_new_tokens)[0]
        text = tokenizer.decode(written.ids, skip_special_tokens=True)
        return Completion(text, written.ids, written.log_probs, written.latents)


def load(path: str | Path, **model_settings: Any) -> Assistant:
    """Load a run folder, a checkpoint, a model folder or a hub id.

    Args:
        path: where the model is; a plain model without a checkpoint card answers without latents.
        **model_settings: fields of the recipe's `model` section that overrule the checkpoint's.

    Returns:
        The model, ready to answer.

    Raises:
        CheckpointError: the checkpoint is damaged or incomplete.
        ModelError: the backbone cannot be loaded.
    """
    return Assistant(load_checkpoint(path, **model_settings))


def load_checkpoint(path: str | Path, **model_settings: Any) -> LatentModel:
    """Load the module behind `load`."""
    folder = find_checkpoint(Path(path))
    visibilities = [CAUSAL, BOTTLENECK]
    if folder is None:
        settings = {"path": str(path), "dtype": "float32", **model_settings}
        return load_model(ModelConfig(**settings), ReasonerConfig(), visibilities).eval()
    card = read_card(folder)
    config = model_config({**card["model"], **model_settings})
    reasoner_type = config_class(card["reasoner"]["name"])
    known = {f.name for f in fields(reasoner_type)}
    reasoner = reasoner_type(**{k: v for k, v in card["reasoner"].items() if k in known})
    model = load_model(config, reasoner, visibilities)
    load_weights(model, folder)
    return model.eval()


def model_config(values: dict[str, Any]) -> ModelConfig:
    """Rebuild the `model` section from a card."""
    return ModelConfig(**{**values, "lora": LoraConfig(**values["lora"])})


def find_checkpoint(path: Path) -> Path | None:
    """Find the checkpoint that a path means.

    Args:
        path: run folder, checkpoint, model folder or hub id.

    Returns:
        The checkpoint's folder, verified; None where the path is a plain model or a hub id.

    Raises:
        CheckpointError: a run folder without checkpoints, or a damaged one.
    """
    if (path / CARD).is_file() or (path / checkpoint.MARKER).is_file():
        folder = path.resolve()
    elif (path / "checkpoints").is_dir():
        named = [path / "checkpoints" / name for name in ("best", "last")]
        found = next((link.resolve() for link in named if link.exists()), None)
        folder = found or checkpoint.latest(path / "checkpoints")  # type: ignore[assignment]
        if folder is None:
            raise CheckpointError(
                f"expected a run with checkpoints, got none, at {str(path)!r}; fix: train first"
            )
    elif checkpoint.step_of(path) >= 0:
        folder = path
    else:
        return None
    checkpoint.verify(folder)
    return folder
