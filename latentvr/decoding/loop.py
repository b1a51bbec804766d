"""The batched decoding loop of all methods: one prefill, one cache, one boolean per row for latent mode.

Every row advances one position per step. A row in latent mode is fed what its method makes of its last hidden
state instead of an embedding; rows enter and leave on their own.

Shape letters: B batch (prompts times rollouts), S prompt, T columns of the cache, D width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import StaticCache

from latentvr.attention.roles import Role
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.choice import Choice, StopStrings
from latentvr.decoding.latent_mode import LatentMode, Perturb, Turn
from latentvr.decoding.prefill import Prefilled, prefill
from latentvr.decoding.rollout import Rollout
from latentvr.decoding.sight import Sight
from latentvr.decoding.steps import Steps
from latentvr.decoding.transcript import Transcript
from latentvr.models.latent_model import LatentModel
from latentvr.models.prefix import Prefix
from latentvr.reasoners.base import Batch, Stage

#: Called after each forward: its number (0 is the prefill), hidden states (B, D) at the last position,
#: what was fed there (B, D) or None for the prefill, rotary positions (3, B), and rows fed a latent (B,).
Watch = Callable[[int, Tensor, Tensor | None, Tensor, Tensor], None]


@torch.no_grad()
def generate(
    model: LatentModel,
    batch: Batch,
    stage: Stage,
    decode: DecodeConfig,
    *,
    rollouts: int = 1,
    feed: Sequence[Sequence[Tensor]] | None = None,
    perturb: Perturb | None = None,
    ends: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
    watch: Watch | None = None,
    blind_markers: bool = False,
    open_spans: bool = True,
    prefix: Prefix | None = None,
) -> list[Rollout]:
    """Write answers.

    Args:
        model: in evaluation mode.
        batch: left-padded prompts without answers, from `collate(..., side="left")`. A prompt that ends with
            the start marker of a latent span begins inside it.
        stage: gives the visibility at test, which holds for the prompt and for every new token.
        decode: length limit, latent exit, sampling, cache; its visibility is the stage's concern.
        rollouts: answers per prompt, from one prefill.
        feed: for each row, tensors (n, D), one for each latent span: they are fed instead of the model's own
            latents, and the span ends with them. The last ones serve all further spans; an empty list leaves
            a row its own latents.
        perturb: changes the model's own latents before they are fed and recorded; called at each step with
            those of all rows and the hidden states that they come of.
        ends: ids that end an answer; None takes the model's.
        generator: for drawing; None takes a new one with `decode.seed`, so that calls repeat themselves.
        watch: sees every forward.
        blind_markers: take the latents' sight from the markers that share it; for answers without latents.
        open_spans: False never lets the model write a marker of a latent span.
        prefix: of this batch and stage, so that the beginning of the prompts is not computed anew; latents
            that stand in prompts are changed in it.

    Returns:
        Rollouts, those of a prompt side by side.

    Raises:
        ValueError: prompts are padded on the right, or `feed` is of another number of rows or another width.
    """
    _require(model, batch, rollouts, feed)
    # Faster than `no_grad`, but what it makes must not meet autograd: not for a model that trains afterwards.
    trains = any(parameter.requires_grad for parameter in model.parameters())
    with model.backbone.uncompiled(), contextlib.nullcontext() if trains else torch.inference_mode():
        start = prefill(model, batch, stage, rollouts, decode, prefix)
        last = batch["input_ids"][:, -1].repeat_interleave(rollouts).tolist()
        latent = LatentMode(model, decode, last, feed, perturb)
        written = _write(
            model, batch, start, latent, stage, decode, rollouts, ends, generator, watch, blind_markers,
            open_spans,
        )  # fmt: skip
    return written.rollouts(start, [number + 1 for number in latent.span], latent.slot)


def _require(
    model: LatentModel, batch: Batch, rollouts: int, feed: Sequence[Sequence[Tensor]] | None
) -> None:
    """Refuse what would be decoded without a word, and wrongly."""
    if bool(torch.eq(batch["roles"][:, -1], int(Role.PAD)).any()):
        raise ValueError("expected prompts padded on the left, got padding at the end; fix: side='left'")
    if feed is None:
        return
    rows, width = len(batch["roles"]) * rollouts, model.backbone.width
    widths = {span.shape[-1] for spans in feed for span in spans} - {width}
    if len(feed) != rows or widths:
        raise ValueError(
            f"expected latents of width {width} for {rows} rows, got {len(feed)} rows and widths "
            f"{sorted(widths)}, at feed; fix: give a list of (n, {width}) tensors for each row"
        )


def _write(
    model: LatentModel,
    batch: Batch,
    start: Prefilled,
    latent: LatentMode,
    stage: Stage,
    decode: DecodeConfig,
    rollouts: int,
    ends: Sequence[int] | None,
    generator: torch.Generator | None,
    watch: Watch | None,
    blind_markers: bool,
    open_spans: bool,
) -> Transcript:
    """All steps."""
    roles_BS, ids_BS = (batch[key].repeat_interleave(rollouts, 0) for key in ("roles", "input_ids"))
    last = batch["position_ids"][:, :, -1:].repeat_interleave(rollouts, 1)
    hidden_BD, cache = start.hidden_BSD[:, -1].repeat_interleave(rollouts, 0), start.cache
    longest, always = ids_BS.shape[1] + decode.max_new_tokens, model.backbone.kernel == "flex"
    sight = Sight(stage.visibility, roles_BS, longest, isinstance(cache, StaticCache), always)
    steps = Steps(model.backbone, cache, last)
    choice = Choice(decode, _generator(decode, ids_BS.device, generator))
    inputs, markers = _Inputs(model), frozenset([] if blind_markers else model.get_buffer("markers").tolist())
    stops = StopStrings(model.processor.tokenizer, decode.stop_strings)
    record = Transcript(model.end_ids if ends is None else ends, len(ids_BS), stops)
    text_BT = _text(ids_BS, roles_BS) if choice.needs_text else None
    never = [] if open_spans or latent.start is None else [latent.start, *latent.closing]
    if watch is not None:
        watch(0, hidden_BD, None, last[..., 0], torch.zeros_like(ids_BS[:, 0], dtype=torch.bool))
    for step in range(1, decode.max_new_tokens + 1):
        logits_BV = model.logits(hidden_BD, decode.suppress)
        if never:
            logits_BV[:, never] = float("-inf")
        ids_B, log_probs_B = choice(logits_BV, text_BT)
        turn = latent.turn(hidden_BD, ids_B, record.done)
        record.add(turn, log_probs_B)
        if step == decode.max_new_tokens or record.all_done:
            break
        if text_BT is not None:
            text_BT = torch.cat([text_BT, turn.text_ids(text_BT[:, -1])[:, None]], 1)
        slot_B = None if turn.slot is None else torch.tensor(turn.slot, device=ids_B.device)
        fed_BD = inputs(turn, slot_B)
        hidden_BD = steps(fed_BD, sight.step(_latent(turn, slot_B, markers)))
        if watch is not None:
            slots = torch.zeros_like(ids_B, dtype=torch.bool) if slot_B is None else slot_B
            watch(step, hidden_BD, fed_BD, last[..., 0] + step, slots)
    return record


def _text(ids_BS: Tensor, roles_BS: Tensor) -> Tensor:
    """Prompts without padding: the last token stands in its place, so that no row depends on the longest."""
    return torch.where(torch.eq(roles_BS, int(Role.PAD)), ids_BS[:, -1:], ids_BS)


def _latent(turn: Turn, slot_B: Tensor | None, markers: frozenset[int]) -> Tensor | None:
    """Rows whose token has the role LATENT: slots, and markers that see what latents see."""
    if markers.isdisjoint(turn.ids):
        return slot_B
    marker_B = torch.tensor([token in markers for token in turn.ids], device=turn.ids_B.device)
    return marker_B if slot_B is None else marker_B | slot_B


class _Inputs:
    """What is fed in each row: latents at slots, and embeddings elsewhere."""

    def __init__(self, model: LatentModel) -> None:
        self.model = model
        self.stock: Any = model.backbone.model.get_input_embeddings()
        self.new_ids = frozenset(model.token_ids.values())

    def __call__(self, turn: Turn, slot_B: Tensor | None) -> Tensor:
        """Rows (B, D)."""
        dtype = self.stock.weight.dtype
        if turn.inputs_BD is not None and turn.slot is not None and all(turn.slot):
            return turn.inputs_BD.to(dtype)
        new = not self.new_ids.isdisjoint(turn.ids)
        fed_BD: Tensor = self.model.embed(turn.ids_B[:, None])[:, 0] if new else self.stock(turn.ids_B)
        if turn.inputs_BD is None or slot_B is None:
            return fed_BD
        return torch.where(slot_B[:, None], turn.inputs_BD.to(dtype), fed_BD)


def _generator(
    decode: DecodeConfig, device: torch.device, given: torch.Generator | None
) -> torch.Generator | None:
    """The one that was given, or one of the decoding's own seed where it is needed."""
    if given is not None or not decode.do_sample:
        return given
    return torch.Generator(device).manual_seed(decode.seed)
