"""The embedding rows of a method's new tokens: the only rows of the matrices that train."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentvr.data.layout import NewToken


class TokenRows(nn.Module):
    """K rows (K, D) in float32, put in place of the matrix's rows at K ids.

    PEFT's `trainable_token_indices` copies the whole matrix in every forward; here only the K rows exist
    as parameters, with the same values, gradients and file format. Where a method has tokens that a model
    writes, the head knows them too: a tied head has the same K rows, an untied one gets `head_rows` for the W
    tokens that are written. Without such tokens the K ids get no probability, and the head is left alone.

    Args:
        tokens: the new tokens; each says the standard deviation of its first values.
        ids: their token ids (K,).
        known: for each token, whether the tokenizer had it before: its rows are then taken from the matrices.
        embedding: the input embedding matrix (V, D).
        head: the head's matrix (V, D), or None where it is the embedding's.
        seed: seed of the first values; the global generator is left as it was.

    Attributes:
        ids: token ids (K,).
        written: numbers of the tokens that a model writes, among the K (W,).
        written_ids: their token ids (W,).
        rows: trainable rows (K, D).
        head_rows: trainable rows of an untied head (W, D), or None.
    """

    ids: Tensor
    written: Tensor
    written_ids: Tensor

    def __init__(
        self,
        tokens: Sequence[NewToken],
        ids: Sequence[int],
        known: Sequence[bool],
        embedding: Tensor,
        head: Tensor | None,
        seed: int,
    ) -> None:
        super().__init__()
        written = [k for k, token in enumerate(tokens) if token.sampled]
        self.register_buffer("ids", torch.tensor(list(ids), dtype=torch.long), persistent=False)
        self.register_buffer("written", torch.tensor(written, dtype=torch.long), persistent=False)
        self.register_buffer("written_ids", self.ids[self.written], persistent=False)
        generator = torch.Generator().manual_seed(seed)
        scale = torch.tensor([token.init_std for token in tokens]).unsqueeze(-1)
        keep = torch.tensor(list(known), dtype=torch.bool).unsqueeze(-1)

        def first_values(matrix: Tensor, which: list[int]) -> nn.Parameter:
            noise = torch.randn(len(which), matrix.shape[1], generator=generator) * scale[which]
            there = matrix.detach()[[ids[k] for k in which]].float().cpu()
            return nn.Parameter(torch.where(keep[which], there, noise).to(matrix.device))

        self.rows = first_values(embedding, list(range(len(ids))))
        untied = head is not None and bool(written)
        self.head_rows = first_values(head, written) if head is not None and untied else None

    def forward(self, ids_BS: Tensor, embeds_BSD: Tensor) -> Tensor:
        """Overwrite the embeddings of the K ids: (B, S, D) in, (B, S, D) out."""
        ids = self.get_buffer("ids")
        hit_BSK = ids_BS.unsqueeze(-1) == ids
        which_BS = hit_BSK.int().argmax(-1)
        rows_BSD = self.rows.to(embeds_BSD.dtype)[which_BS]
        return torch.where(hit_BSK.any(-1, keepdim=True), rows_BSD, embeds_BSD)

    def score(self, hidden: Tensor, logits: Tensor) -> Tensor:
        """Overwrite the logits (..., V), in place, of the rows that the head has; hidden is (..., D)."""
        if not len(self.written):
            return logits
        head_rows = self.head_rows
        rows, which = (self.rows, self.ids) if head_rows is None else (head_rows, self.written_ids)
        scores = functional.linear(hidden.to(rows.dtype), rows).to(logits.dtype)
        return logits.index_copy_(-1, which, scores)

    @torch.no_grad()
    def write_into(self, embedding: Tensor, head: Tensor | None = None) -> None:
        """Copy the rows into an embedding matrix (V, D), and into that of an untied head."""
        ids = self.get_buffer("ids").to(embedding.device)
        embedding[ids] = self.rows.to(embedding)
        if self.head_rows is not None and head is not None:
            head[self.get_buffer("written_ids").to(head.device)] = self.head_rows.to(head)

    @torch.no_grad()
    def read_from(self, embedding: Tensor, head: Tensor | None = None) -> None:
        """Take the rows from an embedding matrix (V, D), and from that of an untied head."""
        ids = self.get_buffer("ids")
        self.rows.copy_(embedding[ids])
        if self.head_rows is not None and head is not None:
            self.head_rows.copy_(head[ids[self.get_buffer("written")]])
