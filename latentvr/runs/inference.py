"""Load a trained model by folder or id, and answer questions with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from latentvr.attention.visibility import PRESETS, preset
from latentvr.config.decode_rules import require_decode
from latentvr.config.memory_keys import for_weights
from latentvr.config.schema import DecodeConfig, LoraConfig, ModelConfig, ReasonerConfig
from latentvr.data.record import Record
from latentvr.errors import CheckpointError
from latentvr.evaluation.evaluate import answer_batch
from latentvr.evaluation.extract import unwrapped
from latentvr.evaluation.prompts import encoder_for
from latentvr.models.device import choose_device
from latentvr.models.latent_model import LatentModel
from latentvr.models.out_of_memory import Work, enough_memory, work_on_samples
from latentvr.models.packed import pack
from latentvr.models.published import load_published
from latentvr.models.vision_attention import set_vision_attention
from latentvr.models.weights import CARD, load_weights, read_card
from latentvr.reasoners.base import Stage
from latentvr.reasoners.registry import config_class
from latentvr.runs.folder import settings_of
from latentvr.trainers import checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Completion:
    """An answer.

    Attributes:
        text: what the model wrote, without control tokens.
        answer: what stands in the last `<answer> ... </answer>` of the text, or the whole text.
        ids: its token ids, latent slots and the end of turn included.
        log_probs: natural log-probability of each id; 0 where the model had no choice.
        latents: hidden states at the latent positions of the prompt (K, D), after the final norm, and then
            what was fed at the latent slots of the answer.
    """

    text: str
    answer: str
    ids: list[int]
    log_probs: list[float]
    latents: Tensor


class Assistant:
    """A model that is ready to answer.

    Args:
        model: put into evaluation mode.
        decode: visibility and longest answer where a call names none.

    Attributes:
        model: the underlying module.
    """

    def __init__(self, model: LatentModel, decode: DecodeConfig | None = None) -> None:
        self.model = model.eval()
        self.decode = decode or DecodeConfig()
        self._encoder = encoder_for(model)

    def generate(
        self,
        prompt: str,
        images: Sequence[Image.Image] = (),
        max_new_tokens: int | None = None,
        visibility: str | None = None,
    ) -> Completion:
        """Answer one prompt.

        Args:
            prompt: the user's text; `<image>` marks where images go, otherwise they come first.
            images: in prompt order.
            max_new_tokens: longest answer; that of the model's run by default.
            visibility: what each role may see; `bottleneck` shows images through the latents alone. That of
                the model's run by default.

        Returns:
            The answer.

        Raises:
            RecordError: the prompt holds control tokens, or does not fit the images.
            RecipeError: settings of generation are out of range, or no room is left beside latent steps.
        """
        longest = self.decode.max_new_tokens if max_new_tokens is None else max_new_tokens
        decode = replace(self.decode, max_new_tokens=longest)
        require_decode(decode, self.model.reasoner.config)
        record = Record("prompt", "", "test", tuple(str(i) for i in range(len(images))), prompt, "")
        rgb = [image.convert("RGB") for image in images]
        sample = self._encoder.encode(record, rgb, with_answer=False, where="the prompt")
        stage = Stage("test", preset(visibility or self.decode.visibility))
        patch = self.model.processor.image_processor.patch_size
        work = replace(work_on_samples("an answer", [sample], patch), after=" or smaller images")
        with enough_memory(work, lambda _: []):
            written = answer_batch(self.model, [sample], stage, decode)[0]
        text = self.model.processor.tokenizer.decode(written.ids, skip_special_tokens=True)
        latents = torch.cat([written.prompt_latents, written.fed])
        return Completion(text, unwrapped(text).strip(), written.ids, written.log_probs, latents)


def load(path: str | Path, device: str = "auto", **model_settings: Any) -> Assistant:
    """Load a run folder, a checkpoint, a model folder or a hub id.

    Args:
        path: where the model is; a published checkpoint is known by its `config.json`; a plain model answers
            without latents.
        device: "auto", "cpu" or "cuda".
        **model_settings: fields of the recipe's `model` section that overrule the checkpoint's.

    Returns:
        The model, ready to answer, with the `decode` settings of its run.

    Raises:
        CheckpointError: the checkpoint is damaged or incomplete.
        ModelError: the backbone cannot be loaded.
        RecipeError: there is no such device.
    """
    decode = settings_of(Path(path)).recipe.decode
    return Assistant(load_checkpoint(path, device, **model_settings), decode)


def load_checkpoint(path: str | Path, device: str = "auto", **model_settings: Any) -> LatentModel:
    """Load the module behind `load`."""
    return load_found(find_checkpoint(Path(path)), path, device, model_settings)


def load_found(
    folder: Path | None, path: str | Path, device: str, model_settings: dict[str, Any]
) -> LatentModel:
    """Load a checkpoint that `find_checkpoint` found at `path`, or the plain or published model there."""
    reasoner: ReasonerConfig | None = None
    trained_with: str | None = None
    if folder is None:
        config = ModelConfig(**{"path": str(path), **model_settings})
    else:
        card = read_card(folder)
        trained_with = card["model"].get("vision_attention")
        config, reasoner = _card_settings(card, model_settings)
    model = load_published(config, reasoner, list(PRESETS.values()), fresh=folder is None)
    if folder is not None:
        load_weights(model, folder)
    with enough_memory(Work("the model's weights"), lambda _: for_weights(config.dtype)):
        model = model.to(choose_device(device)).eval()
    chosen = set_vision_attention(model.backbone, config.vision_attention)
    if trained_with not in (None, "auto", chosen):
        log.info("vision attention: trained with %s, answering with %s", trained_with, chosen)
    if config.pack:
        log.info("packed %d matrices", pack(model))
    return model


def _card_settings(
    card: dict[str, Any], model_settings: dict[str, Any]
) -> tuple[ModelConfig, ReasonerConfig]:
    """Rebuild the sections `model` and `reasoner` from a checkpoint's card.

    A wholly trained language model is kept in float32, as it was validated. The kernel of the vision tower is
    that of this machine, which may have no flash-attn.
    """
    values = {**card["model"], "lora": LoraConfig(**card["model"]["lora"]), "vision_attention": "auto"}
    if card["weights"] == "language":
        values["dtype"] = "float32"
    reasoner_type = config_class(card["reasoner"]["name"])
    known = {f.name for f in fields(reasoner_type)}
    options = {k: v for k, v in card["reasoner"].items() if k in known}
    return ModelConfig(**{**values, **model_settings}), reasoner_type(**options)


def find_checkpoint(path: Path) -> Path | None:
    """Find the checkpoint that a path means; of a run folder that which `train.keep` names.

    Args:
        path: run folder, checkpoint, model folder or hub id.

    Returns:
        The checkpoint's folder, verified; None where the path is a plain or published model, or a hub id.

    Raises:
        CheckpointError: a run folder without checkpoints, or a damaged one.
    """
    if (path / CARD).is_file() or (path / checkpoint.MARKER).is_file():
        folder = path.resolve()
    elif (path / "checkpoints").is_dir():
        folder = _kept(path)
    elif checkpoint.step_of(path) >= 0:
        folder = path
    else:
        return None
    checkpoint.verify(folder)
    return folder


def _kept(run: Path) -> Path:
    """The checkpoint that a run gives, or the newest of an unfinished run; none is refused."""
    named = [run / "checkpoints" / name for name in (settings_of(run).recipe.train.keep, "last")]
    found = next((link.resolve() for link in named if link.exists()), None)
    folder = found or checkpoint.latest(run / "checkpoints")
    if folder is None:
        raise CheckpointError(f"expected a run with checkpoints, got none, at {str(run)!r}; fix: train first")
    return folder
