"""The right answer under teacher forcing: what the model wrote up to its last latent span, then the answer.

Shape letters: B records, S columns of the prompts, T columns of prompts and completions, C columns in the
prefix, R latents in completions, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.data.encode import IGNORED
from latentvr.data.record import Box, Record
from latentvr.decoding.rollout import Rollout
from latentvr.diagnostics.recorded import Latents
from latentvr.models.latent_model import LatentModel
from latentvr.models.prefix import Prefix, extend

Ending = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Completion:
    """A turn with the right answer.

    Attributes:
        ids: token ids.
        slot: places where `fed` is fed instead of the token's embedding.
        asked: tokens that write the answer.
        fed: latents and end vectors (R, D), in order.
    """

    ids: list[int]
    slot: list[bool]
    asked: list[bool]
    fed: Tensor


def completion(
    model: LatentModel, written: Rollout, ending: Ending, latents: Latents | None, spans: bool = True
) -> Completion:
    """Take what was written up to the end of its last latent span, and end it with the right answer.

    Args:
        model: knows what a span looks like.
        written: the model's own answer.
        ending: from `Encoder.ending`.
        latents: (n, D) for each span, in place of those that were fed; the last ones serve all further
            spans; None or an empty list leaves them.
        spans: False leaves whole spans out, their markers too.

    Returns:
        The turn.
    """
    begin = _context(model, written, latents, spans)
    ids, own = ending
    return Completion(
        begin.ids + ids.tolist(),
        begin.slot + [False] * len(ids),
        begin.asked + own.tolist(),
        begin.fed,
    )


def _context(model: LatentModel, written: Rollout, latents: Latents | None, spans: bool) -> Completion:
    """What was written up to the end of the last span, with latents in the place of its own."""
    span, out = model.reasoner.span(), _Parts(written)
    if span is None:
        return out.completion()
    start, slot_id = model.token_ids[span.start], model.token_ids[span.slot]
    closing = {model.token_ids[text] for text in span.end}
    here = 0
    for first, last in _runs(written.slot):
        opened = sum(token == start for token in written.ids[:first])
        marked = written.ids[first - 1 : first] == [start]
        out.text(here, first - int(marked and not spans))
        if spans:
            own = sum(token == slot_id for token in written.ids[first:last])
            given = latents[min(max(opened - 1, 0), len(latents) - 1)] if latents else None
            out.latents(first, own, given, slot_id)
            out.vectors(first + own, last)
        here = last
        while here < len(written.ids) and written.ids[here] in closing and not written.slot[here]:
            here += 1
        out.text(last, here if spans else last)
    return out.completion()


class _Parts:
    """A completion that is put together of parts of what was written."""

    def __init__(self, written: Rollout) -> None:
        self.written = written
        self.ids: list[int] = []
        self.slot: list[bool] = []
        self.fed: list[Tensor] = []

    def text(self, first: int, last: int) -> None:
        """Tokens as they are."""
        self.ids += self.written.ids[first:last]
        self.slot += [False] * (last - first)

    def vectors(self, first: int, last: int) -> None:
        """Slots as they are."""
        self.ids += self.written.ids[first:last]
        self.slot += [True] * (last - first)
        before = sum(self.written.slot[:first])
        self.fed += list(self.written.fed[before : before + last - first])

    def latents(self, first: int, own: int, given: Tensor | None, slot_id: int) -> None:
        """A span's own latents, or given ones in their place."""
        if given is None:
            self.vectors(first, first + own)
        else:
            self.ids += [slot_id] * len(given)
            self.slot += [True] * len(given)
            self.fed += list(given.to(self.written.fed))

    def completion(self) -> Completion:
        """What was put together; no token of it is asked for."""
        fed = torch.stack(self.fed) if self.fed else self.written.fed[:0]
        return Completion(self.ids, self.slot, [False] * len(self.ids), fed)


def _runs(slot: Sequence[bool]) -> list[tuple[int, int]]:
    """First and last place (not included) of each run of slots."""
    edges = [i for i in range(len(slot) + 1) if (i < len(slot) and slot[i]) != (i > 0 and slot[i - 1])]
    return list(zip(edges[::2], edges[1::2], strict=True))


def completed(
    model: LatentModel, prompts: dict[str, Any], completions: Sequence[Completion]
) -> dict[str, Any]:
    """Put completions behind prompts, at the positions and with the roles that decoding gives them.

    Args:
        model: says which markers share the sight of latents.
        prompts: padded on the left, from `collate`.
        completions: one for each prompt.

    Returns:
        The keys of `prompts`; `labels` (B, T) at tokens that are asked for; `completion` (B, T), True in
        completions; `recorded` (R, D), what is fed at their slots in row-major order.
    """
    markers, device = frozenset(model.get_buffer("markers").tolist()), prompts["input_ids"].device
    longest, pad = max(len(c.ids) for c in completions), model.processor.tokenizer.pad_token_id
    ids, roles, labels, inside = [], [], [], []
    for made in completions:
        missing = longest - len(made.ids)
        sees = [slot or token in markers for token, slot in zip(made.ids, made.slot, strict=True)]
        ids.append([*made.ids, *[pad] * missing])
        roles.append(
            [int(Role.LATENT if latent else Role.ANSWER) for latent in sees] + [int(Role.PAD)] * missing
        )
        wanted = [token if asked else IGNORED for token, asked in zip(made.ids, made.asked, strict=True)]
        labels.append(wanted + [IGNORED] * missing)
        inside.append([True] * len(made.ids) + [False] * missing)

    def behind(key: str, rows: list[Any]) -> Tensor:
        return torch.cat([prompts[key], torch.tensor(rows, device=device).to(prompts[key].dtype)], 1)

    last_3B1 = prompts["position_ids"][:, :, -1:]
    further = last_3B1 + torch.arange(1, longest + 1, device=device, dtype=last_3B1.dtype)
    none_BS = torch.zeros_like(prompts["roles"], dtype=torch.bool)
    return {
        **prompts,
        "input_ids": behind("input_ids", ids),
        "roles": behind("roles", roles),
        "labels": torch.cat(
            [torch.full_like(prompts["labels"], IGNORED), torch.tensor(labels, device=device)], 1
        ),
        "position_ids": torch.cat([prompts["position_ids"], further], 2),
        "completion": torch.cat([none_BS, torch.tensor(inside, device=device)], 1),
        "recorded": torch.cat([made.fed for made in completions]).to(device),
    }


def probabilities(
    model: LatentModel,
    prefix: Prefix,
    whole: dict[str, Any],
    never: Sequence[int] = (),
) -> list[float]:
    """Probability of each right answer.

    Args:
        model: the prefix is of.
        prefix: of the prompts.
        whole: from `completed`.
        never: tokens that are never written.

    Returns:
        For each record the product over the tokens that write its answer, between 0 and 1.
    """
    hidden_BTD, _ = extend(model, prefix, whole)
    wanted_BT = whole["labels"][:, prefix.columns + 1 :]
    keep_BT = wanted_BT != IGNORED
    logits_LV = model.logits(hidden_BTD[:, :-1][keep_BT])
    if never:
        logits_LV[:, list(never)] = float("-inf")
    chosen_L = logits_LV.log_softmax(-1).gather(-1, wanted_BT[keep_BT].unsqueeze(-1))[:, 0]
    per_row = chosen_L.split(keep_BT.sum(1).tolist())
    return [float(part.double().sum().exp()) for part in per_row]


def with_span(model: LatentModel, record: Record) -> Record:
    """The record with a region, where a span needs one to be laid out: the whole first image."""
    if model.reasoner.span() is None or record.bboxes or record.response or not record.images:
        return record
    return replace(record, bboxes=(Box(0, (0.0, 0.0, 1.0, 1.0)),))
