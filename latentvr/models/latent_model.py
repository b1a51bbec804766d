"""Backbone, new token rows and a method's modules as one module: what DDP and DeepSpeed wrap.

Everything that takes a gradient is reached through `LatentModel.forward`, so that gradient
synchronisation sees it. Shape letters: B batch, S sequence, N visual tokens, D width, V vocabulary,
F feature levels, L positions with a label.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from latentvr.attention.kernels import AttentionInputs, prepare
from latentvr.attention.mask import reference_mask
from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility
from latentvr.data.encode import IGNORED
from latentvr.data.processor import Processor
from latentvr.models.backbone import Backbone
from latentvr.models.own_inputs import own_inputs
from latentvr.models.scoring import Scores, Scoring, score
from latentvr.models.token_loss import token_loss
from latentvr.models.token_rows import TokenRows
from latentvr.reasoners.base import Batch, LatentReasoner, Stage, Term


class LatentModel(nn.Module):
    """A vision-language model with a latent-reasoning method on top.

    Args:
        backbone: the stock model behind its family's adapter; missing embedding rows are added to it.
        reasoner: the method.
        processor: tokenizer and image processor; the method's tokens are added to it.
        seed: seed of the new token rows.

    Attributes:
        base: the stock model, or a PEFT model around it.
        backbone: uniform access to the stock model's parts.
        reasoner: the method.
        processor: tokenizer and image processor.
        token_ids: ids of the method's new tokens by their text.
        rows: embedding rows of the method's new tokens, or None.
        extra: the method's own modules.
    """

    def __init__(
        self, backbone: Backbone, reasoner: LatentReasoner, processor: Processor, seed: int = 0
    ) -> None:
        super().__init__()
        self.base: Any = backbone.model
        self.backbone = backbone
        self.reasoner = reasoner
        self.processor = processor
        tokens = reasoner.tokens()
        texts = [token.text for token in tokens]
        known = [text in processor.tokenizer.get_vocab() for text in texts] if texts else []
        ids = add_tokens(backbone, processor, texts)
        self.token_ids = dict(zip(texts, ids, strict=True))
        self.rows = (
            TokenRows(tokens, ids, known, backbone.embedding_weight, backbone.untied_head, seed)
            if tokens
            else None
        )
        markers = [
            i for token, i in zip(tokens, ids, strict=True) if token.role is Role.LATENT and not token.slot
        ]
        self.register_buffer("markers", torch.tensor(markers, dtype=torch.long), persistent=False)
        self.extra = nn.ModuleDict(reasoner.modules(backbone.width))
        reasoner.host = self
        silent = [i for token, i in zip(tokens, ids, strict=True) if not token.sampled]
        self.register_buffer(
            "excluded", torch.tensor(sorted({*silent, *processor.never_sampled})), persistent=False
        )

    @property
    def image_token_id(self) -> int:
        """Id of the visual placeholder."""
        return self.processor.image_token_id

    @property
    def end_ids(self) -> list[int]:
        """Ids that end an answer: the tokenizer's end of turn first, then those of the generation config."""
        own: Any = self.backbone.model.generation_config.eos_token_id
        others = [] if own is None else own if isinstance(own, list) else [own]
        return list(dict.fromkeys([self.processor.tokenizer.eos_token_id, *others]))

    def features(self, batch: Batch) -> Tensor | None:
        """Visual features (F, N, D) of a batch: cached, or encoded, with gradients if the tower trains.

        Those of the prompts come first, then those of the references that slots point at.
        """
        parts = [self._encoded(batch, prefix) for prefix in ("", "reference_")]
        found = [part for part in parts if part is not None]
        return torch.cat(found, 1) if len(found) > 1 else found[0] if found else None

    def _encoded(self, batch: Batch, prefix: str) -> Tensor | None:
        if f"{prefix}features" in batch:
            out: Tensor = batch[f"{prefix}features"].to(self.backbone.embedding_weight.dtype)
            return out
        if f"{prefix}pixel_values" not in batch:
            return None
        patches, grid = batch[f"{prefix}pixel_values"], batch[f"{prefix}image_grid_thw"]
        trains = any(parameter.requires_grad for parameter in self.backbone.vision_tower.parameters())
        with torch.set_grad_enabled(trains and torch.is_grad_enabled()):
            return self.backbone.encode_images(patches, grid)

    def embed(self, ids_BS: Tensor) -> Tensor:
        """Input embeddings (B, S, D) of tokens, the new rows in place."""
        embeds_BSD = self.backbone.embed(ids_BS)
        return embeds_BSD if self.rows is None else self.rows(ids_BS, embeds_BSD)

    def embeds(self, batch: Batch, features_FND: Tensor | None, slots: Tensor | None) -> Tensor:
        """Input embeddings (B, S, D): text, new rows, visual features, and what is fed at the slots."""
        ids_BS = batch["input_ids"]
        embeds_BSD = self.embed(ids_BS)
        if features_FND is not None:
            image_BS1 = torch.eq(ids_BS, self.image_token_id).unsqueeze(-1)
            embeds_BSD = embeds_BSD.masked_scatter(image_BS1, features_FND[0].to(embeds_BSD.dtype))
        if slots is not None:
            slots_BS1 = self.slot_mask(batch).unsqueeze(-1)
            embeds_BSD = embeds_BSD.masked_scatter(slots_BS1, slots.to(embeds_BSD.dtype))
        return embeds_BSD

    def slot_mask(self, batch: Batch) -> Tensor:
        """Latent slots (B, S): positions with the role LATENT, markers excepted."""
        latent_BS = torch.eq(batch["roles"], int(Role.LATENT))
        markers = self.get_buffer("markers")
        return latent_BS & ~torch.isin(batch["input_ids"], markers) if len(markers) else latent_BS

    def attend(self, batch: Batch, visibility: Visibility) -> AttentionInputs:
        """Mask and kernel arguments of a batch under a visibility.

        Rows whose `branches` (B, S) number several continuations of one beginning, number 0, take a mask: no
        causal attention can express them.
        """
        if "branches" in batch:
            return AttentionInputs(reference_mask(visibility, batch["roles"], batch["branches"], shared=0))
        return prepare(
            self.backbone.kernel,
            visibility,
            batch["roles"],
            batch.get("documents"),
            dtype=self.backbone.embedding_weight.dtype,
        )

    def hidden(
        self,
        batch: Batch,
        features_FND: Tensor | None,
        stage: Stage,
        cache: Any = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        """Hidden states after the final norm (B, S, D).

        Args:
            batch: from `collate`.
            features_FND: from `features`.
            stage: gives the visibility.
            cache: a cache of transformers, or None.
            slots: what is fed at the L latent slots (L, D); None asks the reasoner.

        Returns:
            (B, S, D).
        """
        if slots is None:
            slots = self.reasoner.slot_inputs(batch, features_FND, stage)
        image_BS = torch.eq(batch["input_ids"], self.image_token_id)
        seen_FND = self.prompt_features(batch, features_FND)
        return self.backbone.decode(
            self.embeds(batch, seen_FND, slots),
            batch["position_ids"],
            self.attend(batch, stage.visibility),
            seen_FND,
            image_BS,
            cache,
        )

    def prompt_features(self, batch: Batch, features_FND: Tensor | None) -> Tensor | None:
        """The features that stand in the prompts, without those of references (F, visual tokens, D)."""
        if features_FND is None or "reference_image_grid_thw" not in batch:
            return features_FND
        return features_FND[:, : int(torch.eq(batch["input_ids"], self.image_token_id).sum())]

    def logits(self, hidden: Tensor, suppress: bool = True) -> Tensor:
        """Logits in float32 (..., V); with `suppress`, tokens that are never written get -inf."""
        scores = self.backbone.logits(hidden).float()
        if self.rows is not None:
            scores = self.rows.score(hidden, scores)
        return scores.index_fill_(-1, self.get_buffer("excluded"), float("-inf")) if suppress else scores

    def forward(self, batch: Batch, stage: Stage, scoring: Scoring | None = None) -> dict[str, Term] | Scores:
        """Loss terms of a batch, each summed over its items; with `scoring`, how likely its tokens are.

        Only the L positions that predict a label reach the head, some at a time: never B x S x V logits.
        """
        if scoring is not None:
            return score(self, batch, stage, scoring)
        features_FND = self.features(batch)
        slots = self.reasoner.slot_inputs(batch, features_FND, stage)
        share = self.reasoner.own_share(stage)
        if share > 0 and slots is not None:
            slots = own_inputs(self, batch, features_FND, stage, slots, share)
        hidden_BSD = self.hidden(batch, features_FND, stage, slots=slots)
        wanted_BS = batch["labels"][:, 1:]
        keep_BS = wanted_BS != IGNORED
        suppress = self.reasoner.suppresses_in_loss
        ce = token_loss(self, hidden_BSD[:, :-1][keep_BS], wanted_BS[keep_BS], suppress)
        return {"ce": Term(ce), **self.reasoner.losses(hidden_BSD, batch, features_FND, stage)}


def add_tokens(backbone: Backbone, processor: Processor, texts: list[str]) -> list[int]:
    """Add tokens to the tokenizer and make sure that the embedding matrix has rows for them.

    Matrices of released models have spare rows; they are used as they are, never resized or shrunk.
    """
    ids = processor.add_tokens(texts)
    if ids and max(ids) >= backbone.embedding_weight.shape[0]:
        backbone.model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    return ids
