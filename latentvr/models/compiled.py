"""Parts of the text decoder compiled for training, in place: names of parameters stay as they are.

What is compiled is the feed-forward block and the norms of each layer, where many small operations become a
few. Attention stays outside: it is a kernel of its own, and the plan of a batch would be written into the
graph. So a graph holds whatever the kernel, packing or gradient checkpointing, and one serves all layers.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Iterator

from torch import nn

from latentvr.errors import ModelError
from latentvr.models.latent_model import LatentModel

log = logging.getLogger(__name__)


def compile_parts(model: LatentModel, backend: str = "inductor") -> None:
    """Compile the feed-forward blocks and norms of the text decoder; the first steps of training take longer.

    Args:
        model: changed in place, adapters already on it.
        backend: of torch.compile.

    Raises:
        ModelError: there is no compiler for this device.
    """
    if backend == "inductor":
        require_compiler(model.backbone.device.type)
    for layer in model.backbone.language_model.layers:
        for part in compiled_parts(layer):
            part.compile(backend=backend)
    model.backbone.compiled = True
    log.info("compiled: feed-forward blocks and norms of the language model")


def compiled_parts(layer: nn.Module) -> Iterator[nn.Module]:
    """All of a decoder layer but its attention, and the norms of queries and keys.

    Args:
        layer: of a stock text decoder.

    Yields:
        nn.Module: each part.
    """
    for name, part in layer.named_children():
        if name != "self_attn":
            yield part
    for name, part in layer.get_submodule("self_attn").named_children():
        if name.endswith("norm"):
            yield part


def require_compiler(device: str) -> None:
    """Refuse to compile where nothing can translate what torch.compile writes.

    Args:
        device: "cpu" or "cuda".

    Raises:
        ModelError: a compiler or a package is missing.
    """
    if device == "cuda":
        there = importlib.util.find_spec("triton") is not None
        wanted, fix = "the package triton", "pip install triton"
    else:
        wanted = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        there = shutil.which(wanted) is not None
        fix = f"install {wanted}"
    if not there:
        raise ModelError(
            f"expected {wanted}, which torch.compile needs here, got none, at model.compile=true; "
            f"fix: {fix}, or set model.compile=false"
        )
