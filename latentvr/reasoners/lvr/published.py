"""The authors' released checkpoints: settings in config.json and names of their tensors.

They were all trained in layout A, whatever their `latent_end_token` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from latentvr.errors import CheckpointError
from latentvr.reasoners.lvr.config import Config
from latentvr.reasoners.lvr.layout import END, LATENT_END, SLOT, START
from latentvr.reasoners.published import PublishedFolder, Recognised, StoredTensor

if TYPE_CHECKING:
    from torch import Tensor

_IDS = {START: "lvr_start_id", SLOT: "lvr_id", LATENT_END: "lvr_latent_end_id", END: "lvr_end_id"}
_HEADS = {"simple": "mlp", "glu": "glu"}
_HEAD = {
    "lvr_head.ln_q": "head.norm",
    "lvr_head.mlp.0": "head.first",
    "lvr_head.mlp.2": "head.second",
    "lvr_head.gate_proj": "head.gate",
    "lvr_head.up_proj": "head.up",
    "lvr_head.down_proj": "head.down",
}
_END = "lvr_latent_end_emb"
Shapes = dict[str, tuple[int, ...]]


def recognise(folder: PublishedFolder) -> Recognised | None:
    """Tell whether a folder is a checkpoint of the authors' code, and of which options.

    Args:
        folder: a model folder.

    Returns:
        Layout A with the head and the end vector that `config.json` names; None for any other folder.

    Raises:
        CheckpointError: the head is of an unknown type, or the tensors are not those that `config.json` says.
    """
    config = folder.config
    if all(config.get(key) is None for key in _IDS.values()):
        return None
    head, end = _head(folder), bool(config.get("latent_end_token"))
    stored = {name: tensor for name, tensor in folder.tensors().items() if _is_ours(_bare(name))}
    width = int(config.get("hidden_size") or config.get("text_config", {}).get("hidden_size", 0))
    gates = [tensor.shape[0] for name, tensor in stored.items() if _bare(name) == "lvr_head.gate_proj.weight"]
    inner = gates[0] if gates else 3 * width
    _require(_wanted(head, end, width, inner), stored, folder)
    head_width = inner if head == "glu" and inner != 3 * width else None
    kind = f"head {head}" + (f" of inner width {inner}" if head == "glu" else "")
    return Recognised(
        reasoner=Config(layout="A", head=head, head_width=head_width, end_vector=end),
        fixed=("layout", "head", "end_vector"),
        token_ids={text: config.get(key) for text, key in _IDS.items()},
        tensors=tuple(stored),
        note=f"layout A, {kind}, {'an' if end else 'no'} end vector",
    )


def _head(folder: PublishedFolder) -> Any:
    """The head by its name in our options."""
    if not folder.config.get("lvr_head"):
        return "none"
    kind = folder.config.get("lvr_head_type")
    if kind not in _HEADS:
        raise CheckpointError(
            f"expected lvr_head_type of {', '.join(_HEADS)} in config.json, got {kind!r}, "
            f"at {folder.path!r}; fix: use a checkpoint with one of these heads"
        )
    return _HEADS[kind]


def _wanted(head: str, end: bool, width: int, inner: int) -> Shapes:
    """Names and shapes of the method's tensors."""
    layers: dict[str, tuple[int, ...]] = {}
    if head == "mlp":
        layers = {"ln_q": (width,), "mlp.0": (width, width), "mlp.2": (width, width)}
    elif head == "glu":
        layers = {"gate_proj": (inner, width), "up_proj": (inner, width), "down_proj": (width, inner)}
    out: Shapes = {f"lvr_head.{name}.weight": shape for name, shape in layers.items()}
    out |= {f"lvr_head.{name}.bias": shape[:1] for name, shape in layers.items()}
    return out | ({_END: (width,)} if end else {})


def _require(wanted: Shapes, stored: Mapping[str, StoredTensor], folder: PublishedFolder) -> None:
    """Refuse a folder whose tensors are not those that its config asks for."""
    names = {_bare(name): name for name in stored}
    told = {key: folder.config.get(key) for key in ("lvr_head", "lvr_head_type", "latent_end_token")}
    asked = ", ".join(f"{key}={value}" for key, value in told.items())
    fix = "fix: download the checkpoint again, config.json included"
    for name in sorted(wanted.keys() | names.keys()):
        if name not in names:
            raise CheckpointError(
                f"expected the tensor {name!r} for {asked} in config.json, got none, at {folder.path!r}; "
                f"{fix}"
            )
        file, shape = stored[names[name]]
        if name not in wanted:
            raise CheckpointError(
                f"expected no tensor {name!r} with {asked} in config.json, got one, at {file!r}; {fix}"
            )
        if shape != wanted[name]:
            raise CheckpointError(
                f"expected {name!r} of shape {wanted[name]} for {asked} in config.json, got {shape}, "
                f"at {file!r}; {fix}"
            )


def _is_ours(bare: str) -> bool:
    return bare == _END or bare.startswith("lvr_head.")


def _bare(name: str) -> str:
    return name.removeprefix("model.")


def modules_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the head and the end vector.

    Args:
        tensors: by their published names, with or without `model.` before them.

    Returns:
        By the names of this method's modules.
    """
    out = {}
    for name, tensor in tensors.items():
        bare = _bare(name)
        module, _, kind = bare.rpartition(".")
        if bare == _END:
            out["end.vector"] = tensor.reshape(-1)
        elif module in _HEAD:
            out[f"{_HEAD[module]}.{kind}"] = tensor
    return out
