"""Trained weights on disk, in formats that other tools read.

Adapters and token rows are a PEFT folder (`trainable_token_indices`), a fully trained language model is a
folder of transformers with the rows in its embedding matrix. `latentvr.json` says what the folder holds.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    TrainableTokensConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentvr.config.schema import ModelConfig
from latentvr.data.processor import first_line
from latentvr.errors import CheckpointError
from latentvr.models.latent_model import LatentModel
from latentvr.models.token_rows import TokenRows

CARD = "latentvr.json"
ADAPTER = "adapter_model.safetensors"
MODULES = "reasoner.safetensors"
FORMAT = 1
_EMBEDDING = "base_model.model.model.language_model.embed_tokens"
_LORA_ROWS = f"{_EMBEDDING}.token_adapter.trainable_tokens_delta"
_ONLY_ROWS = f"{_EMBEDDING}.trainable_tokens_delta"
_LORA_ROWS_HEAD = "base_model.model.lm_head.token_adapter.trainable_tokens_delta"
_ONLY_ROWS_HEAD = "base_model.model.lm_head.trainable_tokens_delta"


def save_weights(model: LatentModel, folder: Path, config: ModelConfig) -> None:
    """Write what was trained, the tokenizer and the card to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = kind_of(model)
    if kind == "lora":
        _save_adapters(model, folder)
    elif kind == "language":
        _save_language(model, folder)
    elif model.rows is not None:
        _save_rows(model.rows, model, folder)
    modules = {k: v.contiguous() for k, v in model.extra.state_dict().items()}
    if modules:
        save_file(modules, folder / MODULES)
    model.processor.save(folder)
    card = {
        "format": FORMAT,
        "weights": kind,
        "vision_dtype": str(next(model.backbone.vision_tower.parameters()).dtype).removeprefix("torch."),
        "reasoner": dataclasses.asdict(model.reasoner.config),
        "model": dataclasses.asdict(config),
        "tokens": [token.text for token in model.reasoner.tokens()],
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def kind_of(model: LatentModel) -> str:
    """What a checkpoint of a model in training holds: `lora`, `language` (the whole model) or `tokens`."""
    if isinstance(model.base, PeftModel):
        return "lora"
    trains = any(p.requires_grad for p in model.backbone.language_model.parameters())
    return "language" if trains else "tokens"


def _save_language(model: LatentModel, folder: Path) -> None:
    """Write the whole model, token rows in its embedding matrix; in memory the matrix stays as it was."""
    if model.rows is None:
        model.base.save_pretrained(folder)
        return
    ids = model.rows.get_buffer("ids")
    matrices = [
        m.detach() for m in (model.backbone.embedding_weight, model.backbone.untied_head) if m is not None
    ]
    ids = ids.to(matrices[0].device)
    before = [matrix[ids].clone() for matrix in matrices]
    try:
        model.rows.write_into(*matrices)
        model.base.save_pretrained(folder)
    finally:
        for matrix, rows in zip(matrices, before, strict=True):
            matrix[ids] = rows


def _save_adapters(model: LatentModel, folder: Path) -> None:
    """Write a PEFT folder with LoRA matrices and token rows."""
    state = {k: v.contiguous() for k, v in get_peft_model_state_dict(model.base).items()}
    config: LoraConfig = model.base.peft_config["default"]
    config = LoraConfig(**{**config.to_dict(), "inference_mode": True})
    if model.rows is not None:
        ids = model.rows.get_buffer("ids")
        state[_LORA_ROWS] = model.rows.rows.detach()
        config.trainable_token_indices = {"embed_tokens": ids.tolist()}
        if model.rows.head_rows is not None:
            state[_LORA_ROWS_HEAD] = model.rows.head_rows.detach()
            config.trainable_token_indices["lm_head"] = ids[model.rows.get_buffer("written")].tolist()
    save_file(state, folder / ADAPTER, metadata={"format": "pt"})
    config.save_pretrained(str(folder))


def _save_rows(token_rows: TokenRows, model: LatentModel, folder: Path) -> None:
    """Write a PEFT folder with token rows alone."""
    rows, ids = token_rows.rows.detach(), token_rows.get_buffer("ids")
    state, targets = {_ONLY_ROWS: rows}, ["embed_tokens"]
    if model.backbone.untied_head is None:
        state[_ONLY_ROWS_HEAD] = rows.clone()
    elif token_rows.head_rows is not None:  # PEFT has one list of ids for both matrices
        head = model.backbone.untied_head.detach()
        head = head[ids.to(head.device)].float()
        written = token_rows.get_buffer("written").to(head.device)
        state[_ONLY_ROWS_HEAD] = head.index_copy(0, written, token_rows.head_rows.detach())
        targets.append("lm_head")
    save_file(state, folder / ADAPTER, metadata={"format": "pt"})
    config = TrainableTokensConfig(token_indices=ids.tolist(), target_modules=targets, inference_mode=True)
    config.save_pretrained(str(folder))


def read_card(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's card.

    Args:
        folder: the checkpoint.

    Returns:
        Format, kind of weights, reasoner and model settings, new tokens.

    Raises:
        CheckpointError: there is none, or it is of a later format.
    """
    file = folder / CARD
    if not file.is_file():
        raise CheckpointError(
            f"expected a checkpoint with {CARD}, got none, at {str(folder)!r}; "
            "fix: give a run folder or one of its checkpoints"
        )
    try:
        card: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f"expected valid JSON, got an error ({error}), at {str(file)!r}; fix: restore the checkpoint"
        ) from error
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"expected checkpoint format {FORMAT}, got {card.get('format')!r}, at {str(file)!r}; "
            "fix: use the version of latentvr that wrote it"
        )
    return card


def load_weights(model: LatentModel, folder: Path, anew: bool = False) -> None:
    """Put the weights of a checkpoint into a model that was built for it.

    Adapters are added where the model has none. A vision tower that was saved in float32 gets it where the
    language model has it too: both go on training then. A model that only answers keeps its number format.

    Args:
        model: changed in place.
        folder: the checkpoint.
        anew: as in `load_modules`.

    Raises:
        CheckpointError: a file is damaged or does not fit.
    """
    card = read_card(folder)
    if card["weights"] == "language":
        trains = model.backbone.embedding_weight.dtype == torch.float32
        if trains and card.get("vision_dtype") == "float32":
            model.backbone.vision_tower.float()
        _load_language(model, folder)
    elif card["weights"] == "lora" or card["tokens"]:
        _load_adapters(model, folder)
    file = folder / MODULES
    if len(model.extra) or file.exists():
        load_modules(model, _read(file) if file.exists() or not anew else {}, folder, anew)


def load_modules(model: LatentModel, state: dict[str, Tensor], where: Path, anew: bool = False) -> None:
    """Put the method's modules into a model.

    Args:
        model: changed in place.
        state: by the names of `model.extra`.
        where: the checkpoint, for messages.
        anew: modules that the method may begin anew keep their first values where the state lacks them.

    Raises:
        CheckpointError: a module is missing, unknown, or of another shape.
    """
    if anew:
        new = model.reasoner.begins_anew
        first = {k: v for k, v in model.extra.state_dict().items() if k.split(".")[0] in new}
        state = {**first, **state}
    wanted = {name: tuple(tensor.shape) for name, tensor in model.extra.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise CheckpointError(
                f"expected {name} of shape {wanted.get(name)} among the method's modules, got "
                f"{found.get(name)}, at {str(where)!r}; fix: use the reasoner's options of that checkpoint"
            )
    model.extra.load_state_dict(state)


def _load_adapters(model: LatentModel, folder: Path) -> None:
    """Read LoRA matrices, if there are any, and token rows."""
    state = _read(folder / ADAPTER)
    whole_head, head = state.pop(_ONLY_ROWS_HEAD, None), state.pop(_LORA_ROWS_HEAD, None)
    rows = state.pop(_LORA_ROWS, None)
    rows = state.pop(_ONLY_ROWS, None) if rows is None else rows
    if whole_head is not None and model.rows is not None and model.rows.head_rows is not None:
        head = whole_head[model.rows.get_buffer("written")]
    _load_rows(model, rows, head, folder)
    if not state:
        return
    if not isinstance(model.base, PeftModel):
        config = _adapter_config(folder)
        config.trainable_token_indices = None
        config.inference_mode = False
        model.base = get_peft_model(model.base, config)
    result = set_peft_model_state_dict(model.base, state)
    missing = [key for key in getattr(result, "missing_keys", []) if "lora_" in key]
    if missing or result.unexpected_keys:
        raise CheckpointError(
            f"expected adapters for this model, got {len(missing)} missing and {len(result.unexpected_keys)} "
            f"unknown matrices, at {str(folder)!r}; fix: use the backbone named in {CARD}"
        )


def _adapter_config(folder: Path) -> LoraConfig:
    """Read the settings of the adapters."""
    try:
        config = LoraConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"expected the settings of LoRA adapters, got: {first_line(error)}, "
            f"at {str(folder / 'adapter_config.json')!r}; fix: use another checkpoint"
        ) from error
    if not isinstance(config, LoraConfig):
        raise CheckpointError(
            f"expected the settings of LoRA adapters, got {type(config).__name__}, "
            f"at {str(folder / 'adapter_config.json')!r}; fix: use another checkpoint"
        )
    return config


def _load_rows(model: LatentModel, rows: Tensor | None, head: Tensor | None, folder: Path) -> None:
    """Copy token rows, and those of an untied head, into the model."""
    mine = (None, None) if model.rows is None else (model.rows.rows, model.rows.head_rows)
    for what, there, found in (("token", mine[0], rows), ("head", mine[1], head)):
        shapes = [None if tensor is None else tuple(tensor.shape) for tensor in (there, found)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"expected {what} rows of shape {shapes[0]}, got {shapes[1]}, at {str(folder)!r}; "
                f"fix: use the reasoner and the backbone named in {CARD}"
            )
        if there is not None and found is not None:
            with torch.no_grad():
                there.copy_(found)


def _load_language(model: LatentModel, folder: Path) -> None:
    """Read a whole model under the names of the public checkpoints; its matrix holds the token rows."""
    if isinstance(model.base, PeftModel):  # those that the run began with went into the weights
        model.base = model.base.unload()
    stock = model.backbone.model
    try:
        loaded = type(stock).from_pretrained(folder, dtype=torch.float32)
        stock.load_state_dict(loaded.state_dict())
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"expected the weights of this model, got: {first_line(error)}, at {str(folder)!r}; "
            f"fix: use the backbone named in {CARD}"
        ) from error
    if model.rows is not None:
        model.rows.read_from(model.backbone.embedding_weight, model.backbone.untied_head)


def _read(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file; a missing or damaged one is refused by name."""
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"expected a complete safetensors file, got: {error}, at {str(file)!r}; "
            "fix: use another checkpoint"
        ) from error
    return tensors
