"""The embedding rows of a method's new tokens: the only rows of the matrix that train."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentvr.data.layout import NewToken


class TokenRows(nn.Module):
    """K rows (K, D) in float32, put in place of the matrix's rows at K ids.

    PEFT's `trainable_token_indices` copies the whole matrix in every forward; here only the K rows exist
    as parameters, with the same values, gradients and file format. The head does not read them: logits of
    latent ids are excluded from every softmax.

    Args:
        tokens: the new tokens; each says the standard deviation of its first values.
        ids: their token ids (K,).
        embedding: the input embedding matrix (V, D); gives width and device.
        seed: seed of the first values; the global generator is left as it was.

    Attributes:
        ids: token ids (K,).
        rows: trainable rows (K, D).
    """

    def __init__(self, tokens: Sequence[NewToken], ids: Sequence[int], embedding: Tensor, seed: int) -> None:
        super().__init__()
        self.register_buffer("ids", torch.tensor(list(ids), dtype=torch.long), persistent=False)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(ids), embedding.shape[1], generator=generator)
        scale = torch.tensor([token.init_std for token in tokens]).unsqueeze(-1)
        self.rows = nn.Parameter((noise * scale).to(embedding.device))

    def forward(self, ids_BS: Tensor, embeds_BSD: Tensor) -> Tensor:
        """Overwrite the embeddings of the K ids: (B, S, D) in, (B, S, D) out."""
        ids = self.get_buffer("ids")
        hit_BSK = ids_BS.unsqueeze(-1) == ids
        which_BS = hit_BSK.int().argmax(-1)
        rows_BSD = self.rows.to(embeds_BSD.dtype)[which_BS]
        return torch.where(hit_BSK.any(-1, keepdim=True), rows_BSD, embeds_BSD)

    @torch.no_grad()
    def write_into(self, embedding: Tensor) -> None:
        """Copy the rows into an embedding matrix (V, D)."""
        embedding[self.get_buffer("ids")] = self.rows.to(embedding.dtype)
