"""Tiny text decoders of both Qwen families, and batches written as strings of roles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from latentvr.attention.kernels import implementation, prepare
from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility

HIDDEN = 64
LETTERS = {".": Role.PAD, "I": Role.IMAGE, "P": Role.PROMPT, "L": Role.LATENT, "A": Role.ANSWER}
TEXT: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": HIDDEN,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
}
VISION: dict[str, Any] = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}


def _qwen2_5_vl() -> PreTrainedModel:
    vision = {**VISION, "out_hidden_size": HIDDEN, "fullatt_block_indexes": [0]}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=TEXT, vision_config=vision))


def _qwen3_vl() -> PreTrainedModel:
    vision = {**VISION, "out_hidden_size": HIDDEN, "deepstack_visual_indexes": [0]}
    text = {**TEXT, "head_dim": 16}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision))


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {"qwen2_5_vl": _qwen2_5_vl, "qwen3_vl": _qwen3_vl}


@dataclass
class Batch:
    """Inputs of a text decoder: embeddings (B, S, 64), mRoPE positions (3, B, S), deepstack features."""

    roles: Tensor
    documents: Tensor | None
    embeds: Tensor
    positions: Tensor
    deepstack: list[Tensor]

    def with_other_images(self) -> Batch:
        """The same batch with every number that comes from pixels changed."""
        shown = self.roles == int(Role.IMAGE)
        other = torch.where(shown[..., None], torch.randn_like(self.embeds), self.embeds)
        return replace(self, embeds=other, deepstack=[torch.randn_like(part) for part in self.deepstack])


def read_roles(rows: list[str]) -> Tensor:
    """Roles of rows such as "PIILA."; spaces are left out."""
    numbers = [[int(LETTERS[letter]) for letter in row.replace(" ", "")] for row in rows]
    return torch.tensor(numbers, dtype=torch.int8)


def read_batch(rows: list[str], documents: list[str] | None = None) -> Batch:
    """A batch of random inputs, the same on every call."""
    generator = torch.Generator().manual_seed(1)
    roles = read_roles(rows)
    numbers = None
    if documents is not None:
        numbers = torch.tensor([[int(digit) for digit in row.replace(" ", "")] for row in documents])
    batch, length = roles.shape
    embeds = torch.randn(batch, length, HIDDEN, generator=generator)
    positions = torch.randint(0, 9, (3, batch, length), generator=generator)
    images = int((roles == int(Role.IMAGE)).sum())
    deepstack = [torch.randn(images, HIDDEN, generator=generator) for _ in range(2)]
    return Batch(roles, numbers, embeds, positions, deepstack)


@dataclass
class Tiny:
    """A random model whose text decoder is run directly, as the library does."""

    family: str
    model: PreTrainedModel

    def hidden(self, batch: Batch, attention: str, mask: Any, **kwargs: Any) -> Tensor:
        """Hidden states (B, S, 64) under an attention implementation."""
        self.model.set_attn_implementation({"text_config": attention})
        if self.family == "qwen3_vl":
            kwargs["visual_pos_masks"] = batch.roles == int(Role.IMAGE)
            kwargs["deepstack_visual_embeds"] = batch.deepstack
        out = self.model.model.language_model(
            inputs_embeds=batch.embeds,
            position_ids=batch.positions,
            attention_mask=mask,
            use_cache=False,
            **kwargs,
        )
        return out.last_hidden_state

    def logits(self, batch: Batch, kernel: str, visibility: Visibility, *, eager: bool = False) -> Tensor:
        """Logits of the tokens that are not padding, shape (tokens, 40)."""
        inputs = prepare(
            kernel, visibility, batch.roles, batch.documents, dtype=batch.embeds.dtype, eager=eager
        )
        name = implementation(kernel, eager=eager)
        hidden = self.hidden(batch, name, inputs.attention_mask, **inputs.kwargs)
        return self.model.lm_head(hidden[batch.roles != int(Role.PAD)])

    def gradients(self, batch: Batch, kernel: str, visibility: Visibility) -> tuple[Tensor, Tensor]:
        """Logits, and the gradients of a random loss over them for all decoder parameters."""
        self.model.zero_grad()
        logits = self.logits(batch, kernel, visibility)
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
        (torch.log_softmax(logits, -1) * weights).mean().backward()
        found = [p.grad.flatten() for p in self.model.model.language_model.parameters() if p.grad is not None]
        return logits.detach(), torch.cat(found)


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def tiny(request: pytest.FixtureRequest) -> Tiny:
    """Both families; weights are large, so that a wrong mask is far from a rounding error."""
    torch.manual_seed(0)
    model = FAMILIES[request.param]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.15)
    return Tiny(request.param, model)


@pytest.fixture(scope="session")
def roles_of() -> Callable[[list[str]], Tensor]:
    return read_roles


@pytest.fixture(scope="session")
def batch_of() -> Callable[..., Batch]:
    return read_batch


ROWS = {
    "right_padded": ["PIIIIPPLLAA...", "PIIPLA........", "PPLLLAAAAAAAAA"],
    "left_padded": ["...PIIIIPPLLAA", "........PIIPLA", "PPLLLAAAAAAAAA"],
    "both_sides": ["..PIIIPPLLAA..", "PIIIIIIIPPLLLA"],
    "interleaved_images": ["PIIPIIPLLPIALA", "IIPIPIPIPLLAA."],
    "latents_in_the_answer": ["PIIPPALLLAALLA", "PIIIIPALAA...."],
    "no_image": ["PPPLLAA", "PPLA..."],
    "image_last": ["PPLLAII", "PLAI..."],
    "one_row": ["PIIIPPLLAA"],
}


@pytest.fixture(params=sorted(ROWS))
def rows(request: pytest.FixtureRequest) -> list[str]:
    return ROWS[request.param]
