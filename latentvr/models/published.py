"""Load a backbone with the method that its folder was trained with: published checkpoints, and ours."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentvr.attention.visibility import Visibility
from latentvr.config.schema import ModelConfig, ReasonerConfig
from latentvr.data.processor import Processor, first_line
from latentvr.errors import CheckpointError
from latentvr.models.continued import base_of, put_weights, require_method
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import attach, is_built_in, load_config, load_model, load_stock, local_path
from latentvr.models.weights import CARD, MODULES, load_modules, read_card
from latentvr.reasoners import registry
from latentvr.reasoners.published import PublishedFolder, Recognised, StoredTensor

log = logging.getLogger(__name__)
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def load_published(
    config: ModelConfig,
    reasoner: ReasonerConfig | None,
    visibilities: list[Visibility],
    seed: int = 0,
    fresh: bool = True,
) -> LatentModel:
    """Load a backbone with a method on it, and what the folder holds of the method where it is a checkpoint.

    Args:
        config: the backbone.
        reasoner: the method and its options; None takes what the folder is a checkpoint of, or no method.
        visibilities: all that will be used.
        seed: seed of rows and modules that the folder does not have.
        fresh: False where the values of another checkpoint follow.

    Returns:
        The model, everything frozen.

    Raises:
        CheckpointError: the folder is a checkpoint of the method under other options, or its tensors or its
            tokens do not fit its `config.json`.
        ModelError: the backbone cannot be loaded.
    """
    base = base_of(config)
    if base is not None and reasoner is not None:
        require_method(Path(config.path), reasoner)
        model = load_published(base, reasoner, visibilities, seed, fresh)
        put_weights(model, Path(config.path), config.lora)
        return model.requires_grad_(False)
    found = recognise(config)
    if reasoner is None:
        reasoner = found.reasoner if found else ReasonerConfig()
    if found is None or found.reasoner.name != reasoner.name:
        model = load_model(config, reasoner, visibilities, seed, fresh)
        _take_modules(model, Path(config.path))
        return model
    log.info("%s: a published checkpoint of %s, %s", config.path, reasoner.name, found.note)
    _require_options(reasoner, found, config.path)
    stock, processor = load_stock(config, found.tensors)
    _require_tokens(processor, stock.get_input_embeddings().weight.shape[0], found, config.path)
    model = attach(stock, processor, config, reasoner, visibilities, seed)
    read = _read(_files(config), found.tensors) if found.tensors else {}
    state = model.reasoner.published_tensors(read)
    load_modules(model, state, Path(config.path))
    return model


def recognise(config: ModelConfig) -> Recognised | None:
    """Ask all methods about the folder or hub id of a recipe.

    Args:
        config: the recipe's section.

    Returns:
        The answer of the method that knows it; None for plain and built-in models, and our own checkpoints.

    Raises:
        CheckpointError: a method knows it, and its files do not fit each other.
        ModelError: there is no such model.
    """
    from transformers import PreTrainedConfig

    if is_built_in(config.path) or (Path(config.path) / CARD).is_file():
        return None
    load_config(config)  # refuses what cannot be read
    values, _ = PreTrainedConfig.get_config_dict(local_path(config.path), revision=config.revision)
    return registry.recognised(PublishedFolder(config.path, values, partial(_stored, config)))


def _take_modules(model: LatentModel, folder: Path) -> None:
    """Take the method's modules from a wholly trained model that we wrote, where it is the backbone."""
    if (folder / CARD).is_file() and read_card(folder)["reasoner"]["name"] == model.reasoner.config.name:
        file = folder / MODULES
        load_modules(model, _read([file], None) if file.is_file() else {}, folder, anew=True)


def _require_options(reasoner: ReasonerConfig, found: Recognised, path: str) -> None:
    """Refuse options that would leave the checkpoint's modules unused, or begin new ones in their place."""
    for name in found.fixed:
        asked, there = (getattr(options, name) for options in (reasoner, found.reasoner))
        if asked != there:
            written = str(there).lower() if isinstance(there, bool) else there
            raise CheckpointError(
                f"expected reasoner.{name}={written} as in the checkpoint, got {asked}, at {path!r}; "
                f"fix: set reasoner.{name}={written}, or start from a plain model"
            )


def _require_tokens(processor: Processor, rows: int, found: Recognised, path: str) -> None:
    """Refuse a tokenizer in which the method's tokens are missing or others: their rows would be too."""
    vocabulary = processor.tokenizer.get_vocab()
    for text, wanted in found.token_ids.items():
        there = vocabulary.get(text)
        if there is None:
            raise CheckpointError(
                f"expected the token {text!r} in the tokenizer, got none, at {path!r}; "
                "fix: use the tokenizer that came with the checkpoint"
            )
        if wanted is not None and wanted != there:
            raise CheckpointError(
                f"expected the id {wanted} of {text!r} as in config.json, got {there} in the tokenizer, "
                f"at {path!r}; fix: use the tokenizer that came with the checkpoint"
            )
        if there >= rows:
            raise CheckpointError(
                f"expected an embedding row for {text!r} with the id {there}, got {rows} rows, at {path!r}; "
                "fix: use the tokenizer that came with the checkpoint"
            )


def _stored(config: ModelConfig) -> dict[str, StoredTensor]:
    """Names and shapes of all tensors, from the headers of the files."""
    out = {}
    for file in _files(config):
        with _opened(file) as stored:
            for name in stored.keys():  # noqa: SIM118 - not a mapping
                out[name] = StoredTensor(str(file), tuple(stored.get_slice(name).get_shape()))
    return out


def _read(files: list[Path], names: tuple[str, ...] | None) -> dict[str, Tensor]:
    """Read some of the tensors, or all."""
    out = {}
    for file in files:
        with _opened(file) as stored:
            there = set(stored.keys())
            wanted = there if names is None else there & set(names)
            out.update({name: stored.get_tensor(name) for name in wanted})
    return out


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"expected a complete safetensors file, got: {first_line(error)}, at {str(file)!r}; "
            "fix: download it again"
        ) from error


def _files(config: ModelConfig) -> list[Path]:
    """The weight files of a model: one, or those that the index names."""
    whole = _file(config, WEIGHTS)
    if whole is not None:
        return [whole]
    index = _file(config, INDEX)
    if index is None:
        raise CheckpointError(
            f"expected {WEIGHTS} or {INDEX}, got neither, at {config.path!r}; "
            "fix: download the checkpoint again"
        )
    found = {name: _file(config, name) for name in _named(index)}
    missing = [name for name, file in found.items() if file is None]
    if missing:
        raise CheckpointError(
            f"expected the file {missing[0]!r} that the index names, got none, at {config.path!r}; "
            "fix: download the checkpoint again"
        )
    return [file for file in found.values() if file is not None]


def _named(index: Path) -> list[str]:
    """Names of the files in an index, sorted; they must lie beside it."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"expected JSON with a weight_map of names, got: {first_line(error)}, at {str(index)!r}; "
            "fix: download the file again"
        ) from error
    outside = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if outside:
        raise CheckpointError(
            f"expected names of files beside the index, got {outside[0]!r}, at {str(index)!r}; "
            "fix: download the file again"
        )
    return names


def _file(config: ModelConfig, name: str) -> Path | None:
    """A file of a local folder or the hub; None where there is none."""
    from transformers.utils import cached_file

    file = cached_file(
        local_path(config.path), name, revision=config.revision, _raise_exceptions_for_missing_entries=False
    )
    return None if file is None else Path(file)
