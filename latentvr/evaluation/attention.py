"""Where attention goes: what tokens get of it, and from the latents to the image.

The weights are those of the stock model in its eager form, under the reference mask. They are read layer by
layer and reduced at once: one layer's (B, H, S, S) is in memory, never all layers'.

Shape letters: B batch, H heads, S sequence, K latent tokens of a sample, L of a batch, R ranges
of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from latentvr.attention.kernels import implementation, prepare
from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility
from latentvr.errors import UserError
from latentvr.models.latent_model import LatentModel
from latentvr.reasoners.base import Batch, Stage

Map = npt.NDArray[np.float32]
Reader = Callable[[int, Tensor], None]
SlotInputs = Callable[[Tensor | None], Tensor | None]


@torch.no_grad()
def latent_to_image(model: LatentModel, batch: Batch, visibility: Visibility) -> list[list[Map]]:
    """Attention from each latent token to each visual token (arXiv 2512.21218, figure 3).

    Args:
        model: put into evaluation mode for the call.
        batch: with or without answers, on the model's device.
        visibility: who sees whom.

    Returns:
        For each sample, for each of its images, weights (K, rows, columns) averaged over heads and layers;
        rows and columns count visual tokens. Copies of images that serve as latents are no keys here.
    """
    return [of_ranges[0] for of_ranges in latent_maps(model, batch, visibility, 1)]


@torch.no_grad()
def latent_maps(
    model: LatentModel,
    batch: Batch,
    visibility: Visibility,
    ranges: int,
    slot_inputs: SlotInputs | None = None,
) -> list[list[list[Map]]]:
    """The maps of `latent_to_image` for several ranges of layers, from one forward pass.

    Args:
        model: put into evaluation mode for the call.
        batch: with or without answers, on the model's device.
        visibility: who sees whom.
        ranges: number of runs of neighbouring layers, of nearly equal length, the first layers first.
        slot_inputs: as for `read_attention`.

    Returns:
        For each sample, range and image, weights (K, rows, columns) averaged over heads and the layers of the
        range.

    Raises:
        UserError: the model has fewer layers than there are ranges.
    """
    layers = len(model.backbone.language_model.layers)
    if not 1 <= ranges <= layers:
        raise UserError(
            f"expected from 1 to {layers} ranges of layers, got {ranges}, at maps of attention; "
            "fix: ask for at most as many ranges as the model has layers"
        )
    slot_BS = model.slot_mask(batch)
    sizes = [(i + 1) * layers // ranges - i * layers // ranges for i in range(ranges)]
    range_of = [i for i, size in enumerate(sizes) for _ in range(size)]
    summed_RLS = torch.zeros(ranges, int(slot_BS.sum()), slot_BS.shape[1], device=slot_BS.device)

    def add(layer: int, weights_BHSS: Tensor) -> None:
        place = range_of[layer]
        summed_RLS[place] += weights_BHSS.mean(1, dtype=torch.float32)[slot_BS] / sizes[place]

    read_attention(model, batch, visibility, add, slot_inputs=slot_inputs)
    of_samples = summed_RLS.cpu().split(slot_BS.sum(1).tolist(), 1)
    return [
        [[rows_KS[:, at].reshape(len(rows_KS), *size).numpy() for at, size in spans] for rows_KS in of_sample]
        for of_sample, spans in zip(of_samples, image_spans(model, batch), strict=True)
    ]


@torch.no_grad()
def received(
    model: LatentModel,
    batch: Batch,
    visibility: Visibility,
    queries: Sequence[Tensor],
    slot_inputs: SlotInputs | None = None,
) -> list[Tensor]:
    """What each token gets of the attention of some tokens of its sample, from one forward pass.

    Args:
        model: put into evaluation mode for the call.
        batch: on the model's device.
        visibility: who sees whom.
        queries: sets of tokens that attend, a mask (B, S) each.
        slot_inputs: as for `read_attention`.

    Returns:
        For each set of queries the weights (B, S) that keys get, averaged over heads, layers and the sample's
        queries, in double precision on the CPU; zeros in samples without queries. They sum to 1 over keys.
    """
    totals = [torch.zeros_like(query_BS, dtype=torch.float64) for query_BS in queries]

    def add(layer: int, weights_BHSS: Tensor) -> None:
        del layer
        mean_BSS = weights_BHSS.mean(1, dtype=torch.float32)
        for total_BS, query_BS in zip(totals, queries, strict=True):
            to_keys_BS = (mean_BSS * query_BS.unsqueeze(-1)).sum(1).double()
            total_BS.add_(to_keys_BS / query_BS.sum(-1, keepdim=True).clamp(min=1))

    layers = read_attention(model, batch, visibility, add, slot_inputs=slot_inputs)
    return [total_BS.cpu() / layers for total_BS in totals]


def image_spans(model: LatentModel, batch: Batch) -> list[list[tuple[Tensor, tuple[int, int]]]]:
    """Find the visual tokens of each sample's images.

    Args:
        model: says what a visual token is and how patches are merged.
        batch: B samples.

    Returns:
        For each sample and image, places in the sequence and (rows, columns) in visual tokens.
    """
    merge = int(model.processor.image_processor.merge_size)
    grids = [[int(n) for n in row] for row in batch.get("image_grid_thw", ())]
    sizes = iter([(frames * rows // merge, columns // merge) for frames, rows, columns in grids])
    visual_BS = torch.eq(batch["input_ids"], model.image_token_id).cpu()
    out = []
    for visual_S, roles_S in zip(visual_BS, batch["roles"].cpu(), strict=True):
        places = visual_S.nonzero()[:, 0]
        spans = []
        while len(places):
            size = next(sizes)
            here, places = places[: size[0] * size[1]], places[size[0] * size[1] :]
            if int(roles_S[here[0]]) == Role.IMAGE:
                spans.append((here, size))
        out.append(spans)
    return out


def read_attention(
    model: LatentModel,
    batch: Batch,
    visibility: Visibility,
    reader: Reader,
    *,
    slot_inputs: SlotInputs | None = None,
    layers: Sequence[int] = (),
) -> int:
    """Run the text decoder once and hand each layer's attention weights (B, H, S, S) to `reader`.

    Args:
        model: its kernel and its mode are as before afterwards.
        batch: on the model's device.
        visibility: who sees whom.
        reader: takes the layer's number and weights; rows are queries.
        slot_inputs: gives what is fed at the L latent slots (L, D) from the visual features (F, N, D), or
            None, which asks the reasoner, as does leaving it out.
        layers: numbers of the layers that are read, from 0; empty reads all.

    Returns:
        Number of layers that were read.

    Raises:
        UserError: the model has no such layer.
    """
    backbone = model.backbone
    chosen = _layers(model, layers)
    dtype = backbone.embedding_weight.dtype
    attend = prepare("mask", visibility, batch["roles"], batch.get("documents"), dtype=dtype, eager=True)
    features_FND = model.features(batch)
    slots = None if slot_inputs is None else slot_inputs(features_FND)
    if slots is None:
        slots = model.reasoner.slot_inputs(batch, features_FND, Stage("attention", visibility))
    seen_FND = model.prompt_features(batch, features_FND)
    with _eager(model), _hooks(chosen, reader):
        backbone.decode(
            model.embeds(batch, seen_FND, slots),
            batch["position_ids"],
            attend,
            seen_FND,
            torch.eq(batch["input_ids"], model.image_token_id),
        )
    return len(chosen)


def _layers(model: LatentModel, wanted: Sequence[int]) -> dict[int, Any]:
    """The decoder's layers by number, all or the wanted ones."""
    every = dict(enumerate(model.backbone.language_model.layers))
    missing = sorted(set(wanted) - set(every))
    if missing:
        raise UserError(
            f"expected numbers of layers from 0 to {len(every) - 1}, got {missing}, at the layers whose "
            "attention is read; fix: name layers that the model has, or none for all"
        )
    return {number: every[number] for number in wanted or every}


@contextmanager
def _eager(model: LatentModel) -> Iterator[None]:
    """Use eager attention without dropout; the only form that gives its weights."""
    stock = model.backbone.model
    before = model.backbone.text_config._attn_implementation
    training = [module for module in model.modules() if module.training]
    model.eval()
    stock.set_attn_implementation({"text_config": implementation("mask", eager=True)})
    try:
        yield
    finally:
        stock.set_attn_implementation({"text_config": before})
        for module in training:
            module.training = True


@contextmanager
def _hooks(layers: dict[int, Any], reader: Reader) -> Iterator[None]:
    """Call `reader` whenever a layer's attention has run."""
    handles = [
        layer.self_attn.register_forward_hook(_weights_hook(number, reader))
        for number, layer in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _weights_hook(number: int, reader: Reader) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        reader(number, output[1])

    return hook


def require_answers(answer_BS: Tensor, batch: Batch) -> None:
    """Refuse samples without answers.

    Args:
        answer_BS: True at the tokens of answers (B, S).
        batch: names its samples.

    Raises:
        UserError: a sample has no answer tokens.
    """
    for name, has_answer in zip(batch["sample_ids"], answer_BS.any(-1).tolist(), strict=True):
        if not has_answer:
            raise UserError(
                f"expected answer tokens, got none, at sample {name!r} of the attention mass; "
                "fix: encode the records with their answers"
            )
