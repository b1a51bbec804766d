"""Golden numbers of the published LVR code: the folder, its batches, models with its weights, and tolerances.

The folder is `LATENTVR_GOLDEN`, by default `../shared/golden/lvr` beside the repository; without it these
tests skip. Its README says what each file holds. Nothing here knows a size, an id or a number of cases, so
that every folder of this form will do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("LATENTVR_GOLDEN") or ROOT.parent / "shared" / "golden" / "lvr").resolve()

#: Largest difference allowed for each kind of number; `_difference` says how it is measured.
TOLERANCE = {
    "regions": 0.0,
    "ids": 0.0,
    "roles": 0.0,
    "labels": 0.0,
    "slots": 0.0,
    "positions": 0.0,
    "pixel values": 0.0,
    "visual features": 1e-4,
    "region embeddings": 1e-4,
    "inputs as fed": 1e-4,
    "hidden states": 1e-4,
    "logits": 1e-4,
    "log-probabilities": 1e-4,
    "advantages": 1e-6,
    "latents": 1e-4,
    "losses": 1e-5,
    "gradients": 1e-4,
    "gradient norms": 1e-4,
}
IGNORED = -100

Agree = Callable[..., None]


def _difference(kind: str, found: np.ndarray, wanted: np.ndarray, floor: float) -> float:
    """Largest difference: of losses relative to those above 1, of gradients to the largest one wanted."""
    if not wanted.size:
        return 0.0
    apart, size = np.abs(found - wanted), np.abs(wanted)
    if kind == "losses":
        apart = apart / np.maximum(1.0, size)
    elif kind.startswith("gradient"):
        apart = apart / max(float(size.max()), floor)
    # A NaN stays one here, and no NaN is within a tolerance.
    return float(apart.max())


def _array(value: Any) -> np.ndarray:
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    return array.astype(np.int64 if array.dtype.kind in "iub" else np.float64)


@pytest.fixture
def agree(request: pytest.FixtureRequest) -> Agree:
    """Compare what we compute with what a file says, and keep the difference for the table at the end.

    Below `floor`, a relative difference is one of the floor.
    """

    def check(kind: str, found: Any, wanted: Any, what: str = "", floor: float = 1e-12) -> None:
        ours, theirs = _array(found), _array(wanted)
        assert ours.shape == theirs.shape, f"{kind} {what}: shape {ours.shape}, wanted {theirs.shape}"
        apart = _difference(kind, ours, theirs, floor)
        request.node.user_properties.append(("difference", (kind, apart, TOLERANCE[kind])))
        assert apart <= TOLERANCE[kind], f"{kind} {what}: {apart:.3g} apart, at most {TOLERANCE[kind]:g}"

    return check


class Golden:
    """The folder's files, and the cases in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def existing(self, name: str) -> Path:
        """A file by its relative path; the test skips where there is none."""
        if not (self.folder / name).is_file():
            pytest.skip(f"no {name} in {self.folder}")
        return self.folder / name

    def json(self, name: str) -> Any:
        """What a JSON file holds."""
        return json.loads(self.existing(name).read_text(encoding="utf-8"))

    def arrays(self, name: str) -> dict[str, Any]:
        """The arrays of an npz file."""
        with np.load(self.existing(name), allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}

    def token(self, text: str) -> int:
        """Id of a special token."""
        return int(self.json("meta.json")["special_tokens"][text])

    def files(self, pattern: str) -> list[str]:
        """Files by pattern, relative to the folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.glob(pattern))

    def keys(self, name: str) -> list[str]:
        """Keys of a JSON object; none where there is no such file."""
        return list(self.json(name)) if (self.folder / name).is_file() else []

    def batch(self, arrays: dict[str, Any], closing: bool = False) -> dict[str, Any]:
        """A batch as our collator makes it, from the arrays of a file.

        The file's labels still hold slot ids, which its loss ignores. The start marker is latent and has its
        label. With `closing`, the token that closes the latents is fed a learned vector: latent, no label.
        """
        import torch

        from latentvr.attention.roles import Role

        held = {key: torch.from_numpy(value) for key, value in arrays.items() if key in BATCHED}
        ids, latent = held["input_ids"], held["input_ids"] == self.token("<|lvr|>")
        if closing:
            latent = latent | (ids == self.token("<|lvr_latent_end|>"))
        labels = held.pop("labels", torch.full_like(ids, IGNORED)).masked_fill(latent, IGNORED)
        roles = torch.full_like(ids, int(Role.PROMPT), dtype=torch.int8)
        roles[labels != IGNORED] = int(Role.ANSWER)
        roles[ids == self.token("<|image_pad|>")] = int(Role.IMAGE)
        roles[latent | (ids == self.token("<|lvr_start|>"))] = int(Role.LATENT)
        roles[~held.pop("attention_mask").bool()] = int(Role.PAD)
        names = [str(row) for row in range(len(ids))]
        return {**held, "labels": labels, "roles": roles, "slots": self._slots(arrays), "sample_ids": names}

    def _slots(self, arrays: dict[str, Any]) -> Any:
        """Number of each slot, and of its visual token among all of the batch (R, 2)."""
        import torch

        inside = arrays.get("lvr_tokens_concat", arrays.get("roi_token_indices", np.zeros(0)))
        counts = arrays.get("lvr_tokens_len", np.array([len(inside)] * len(arrays["input_ids"])))
        visual = (arrays["input_ids"] == self.token("<|image_pad|>")).sum(1)
        first = np.repeat(np.cumsum(visual) - visual, counts)
        pairs = np.stack([np.arange(len(inside)), inside + first], 1)
        return torch.from_numpy(pairs.astype(np.int64))


BATCHED = ("input_ids", "attention_mask", "labels", "position_ids", "pixel_values", "image_grid_thw")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each case in the folder; one that skips, with its reason, where there is none."""
    golden = Golden(FOLDER)
    losses = golden.keys("sft/losses.json")
    cases = {
        "sample_file": golden.files("sft/sample_*.npz"),
        "batch_file": golden.files("sft/batch_*.npz"),
        "loss_case": [key for key in losses if not key.endswith("/adamw3")],
        "adamw_case": [key for key in losses if key.endswith("/adamw3")],
        "variant_case": golden.keys("variants/losses.json"),
        "decode_file": golden.files("decode*/*.npz"),
        "grpo_file": golden.files("grpo/group_*.npz"),
    }
    reason = f"no case in {FOLDER}" if FOLDER.is_dir() else f"no folder {FOLDER}; set LATENTVR_GOLDEN"
    none = [pytest.param("", marks=pytest.mark.skip(reason=reason))]
    for name in sorted(set(cases) & set(metafunc.fixturenames)):
        metafunc.parametrize(name, cases[name] or none)


@pytest.fixture(scope="session")
def golden() -> Golden:
    if not FOLDER.is_dir():
        pytest.skip(f"no folder {FOLDER}; set LATENTVR_GOLDEN")
    return Golden(FOLDER)


class Models:
    """Loads golden weights as complete model folders: weights, tokenizer and image settings."""

    def __init__(self, golden: Golden, root: Path, complete: Any) -> None:
        self.golden = golden
        self.complete = complete
        self.root = root

    def folder(self, name: str) -> Path:
        """A complete folder of the model called `name`."""
        self.golden.existing(f"{name}/model.safetensors")
        folder = self.root / name
        if not folder.is_dir():
            self.complete(self.golden.folder, name, folder)
        return folder

    def load(self, name: str, kernel: str = "mask", variant: str = "", **options: Any) -> Any:
        """The model with the method on it, in evaluation mode, everything frozen.

        A variant has further losses and modules; the weights of modules are in a file with its name, or with
        those of a model whose config asks for them.
        """
        from safetensors.torch import load_file

        from latentvr.attention.visibility import CAUSAL
        from latentvr.config.schema import ModelConfig
        from latentvr.models.load import load_model
        from latentvr.reasoners import registry

        folder, tensors = self.folder(name), {}
        chosen = _own_options(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        if chosen:
            tensors = load_file(folder / "model.safetensors")
        chosen |= _variant_options(variant)
        if variant and {"head", "end_vector"} & set(chosen):
            tensors |= load_file(self.golden.existing(f"variants/{variant}.safetensors"))
        if chosen.get("head") == "glu":
            chosen["head_width"] = next(len(t) for key, t in tensors.items() if "lvr_head.gate_proj" in key)
        config = ModelConfig(path=str(folder), dtype="float32", attention=kernel)  # type: ignore[arg-type]
        method = registry.config_class("lvr")(**{"name": "lvr", **chosen, **options})
        model = load_model(config, method, [CAUSAL]).eval()
        model.extra.load_state_dict(model.reasoner.published_tensors(tensors))
        return model


#: Parts of a variant's name, and the options that they stand for.
PARTS: dict[str, dict[str, Any]] = {
    "mode_switch_bce": {"switch_loss": True},
    "latent_end": {"end_vector": True},
    "head_simple": {"head": "mlp"},
    "head_glu": {"head": "glu"},
    "cosine": {"loss": "cosine"},
    "mse": {"loss": "mse"},
    "mae": {"loss": "mae"},
}


def _own_options(config: dict[str, Any]) -> dict[str, Any]:
    """Options that the config of a published model stands for."""
    chosen: dict[str, Any] = {}
    if config.get("lvr_head"):
        chosen["head"] = {"simple": "mlp", "glu": "glu"}[config["lvr_head_type"]]
    if config.get("latent_end_token"):
        chosen["end_vector"] = True
    return chosen


def _variant_options(variant: str) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    rest = variant
    for part, options in PARTS.items():
        if part in rest:
            chosen |= options
            rest = rest.replace(part, "").strip("_")
    if rest:
        pytest.skip(f"no options are known for the part {rest!r} of the variant {variant!r}")
    return chosen


@pytest.fixture(scope="session")
def models(golden: Golden, tmp_path_factory: pytest.TempPathFactory, complete_golden: Any) -> Models:
    return Models(golden, tmp_path_factory.mktemp("golden"), complete_golden)
