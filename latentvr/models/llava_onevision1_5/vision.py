"""The RICE vision tower (arXiv 2507.20025) as LLaVA-OneVision-1.5 uses it.

Patches of all images lie end to end, each frame behind a class token of its own, and see their own frame
alone. Rotary positions in two axes; four neighbouring patches become one visual token of the decoder's width.

Shape letters: P patches of all frames, T the same with class tokens, F frames, N visual tokens, E width of
the tower, D width of the decoder, H heads, A rotary angles per head (half its width).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen3.modeling_qwen3 import eager_attention_forward

from latentvr.models.llava_onevision1_5.configuration import RiceVisionConfig

THETA = 10000.0


class RicePatchEmbed(nn.Module):
    """Pixels of a patch to the width of the tower."""

    def __init__(self, config: RiceVisionConfig) -> None:
        super().__init__()
        self.shape = (config.in_channels, config.patch_size, config.patch_size)
        side = config.patch_size
        self.proj = nn.Conv2d(config.in_channels, config.hidden_size, side, stride=side, bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        """Embed patches (P, values) as (P, E)."""
        out: Tensor = self.proj(patches.view(-1, *self.shape)).flatten(1)
        return out


class RiceAttention(nn.Module):
    """Attention of each frame to itself, in all directions."""

    num_key_value_groups = 1
    is_causal = False

    def __init__(self, config: RiceVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.heads = config.num_heads
        self.scaling = (config.hidden_size // config.num_heads) ** -0.5
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_TE: Tensor, cos_T1A: Tensor, sin_T1A: Tensor, lengths: Sequence[int]) -> Tensor:
        """Attend within runs of `lengths` tokens; cosines and sines are for a whole head (T, 1, 2 A)."""
        query, key, value = self.qkv(hidden_TE).view(len(hidden_TE), 3, self.heads, -1).unbind(1)
        query, key = (_rotated(states, cos_T1A, sin_T1A) for states in (query, key))
        states = [part.transpose(0, 1).unsqueeze(0) for part in (query, key, value)]
        name = self.config._attn_implementation
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager_attention_forward)
        options = {"attention_mask": None, "scaling": self.scaling, "dropout": 0.0, "is_causal": False}
        if "flash" in name:
            out = attend(self, *states, **options, **_runs(lengths, hidden_TE.device))[0]
        else:
            frames = zip(*(part.split(list(lengths), 2) for part in states), strict=True)
            out = torch.cat([attend(self, *frame, **options)[0] for frame in frames], 1)
        mixed: Tensor = self.proj(out.reshape(len(hidden_TE), -1))
        return mixed


def _runs(lengths: Sequence[int], device: torch.device) -> dict[str, Any]:
    """Where frames begin and end, as flash attention wants it."""
    ends = functional.pad(torch.tensor(lengths, device=device).cumsum(0, dtype=torch.int32), (1, 0))
    longest = max(lengths)
    return {
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def _rotated(states_THA: Tensor, cos_T1A: Tensor, sin_T1A: Tensor) -> Tensor:
    """Rotate the two halves of each head against each other, in float32."""
    wide = states_THA.float()
    first, second = wide.chunk(2, -1)
    return (wide * cos_T1A + torch.cat([-second, first], -1) * sin_T1A).to(states_THA.dtype)


class RiceMlp(nn.Module):
    """Two linear layers of a block."""

    def __init__(self, config: RiceVisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, hidden_TE: Tensor) -> Tensor:
        """Transform (T, E)."""
        out: Tensor = self.fc2(self.act(self.fc1(hidden_TE)))
        return out


class RiceBlock(GradientCheckpointingLayer):
    """One layer of the tower, norms before attention and before the linear layers."""

    def __init__(self, config: RiceVisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attn = RiceAttention(config)
        self.mlp = RiceMlp(config)

    def forward(self, hidden_TE: Tensor, cos_T1A: Tensor, sin_T1A: Tensor, lengths: Sequence[int]) -> Tensor:
        """Transform (T, E); arguments as of `RiceAttention`."""
        hidden_TE = hidden_TE + self.attn(self.norm1(hidden_TE), cos_T1A, sin_T1A, lengths)
        out: Tensor = hidden_TE + self.mlp(self.norm2(hidden_TE))
        return out


class RiceMerger(nn.Module):
    """Neighbouring patches to one visual token."""

    def __init__(self, config: RiceVisionConfig) -> None:
        super().__init__()
        self.width = config.hidden_size * config.spatial_merge_size**2
        self.ln_q = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = nn.Sequential(
            nn.Linear(self.width, self.width), nn.GELU(), nn.Linear(self.width, config.text_hidden_size)
        )

    def forward(self, hidden_PE: Tensor) -> Tensor:
        """Merge (P, E) into (N, D)."""
        out: Tensor = self.mlp(self.ln_q(hidden_PE).view(-1, self.width))
        return out


class RiceTransformer(PreTrainedModel):
    """Vision tower and projector."""

    config_class = RiceVisionConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ("RiceBlock",)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: RiceVisionConfig) -> None:
        super().__init__(config)
        self.spatial_merge_size = config.spatial_merge_size
        self.angles = config.hidden_size // config.num_heads // 2
        self.patch_embed = RicePatchEmbed(config)
        self.class_embedding = nn.Parameter(torch.zeros(config.hidden_size))
        self.class_pos_emb = nn.Parameter(torch.zeros(1, self.angles))
        self.pre_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.blocks = nn.ModuleList([RiceBlock(config) for _ in range(config.depth)])
        self.merger = RiceMerger(config)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The layer that gradients of gradient checkpointing have to reach."""
        return self.patch_embed

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.normal_(self.class_embedding, std=self.config.initializer_range)
            init.normal_(self.class_pos_emb, std=self.config.initializer_range)

    def forward(self, pixel_values: Tensor, grid: Tensor) -> BaseModelOutputWithPooling:
        """Encode images.

        Args:
            pixel_values: patches (P, values), in the tower's number format, four of a visual token together.
            grid: (images, 3): frames, rows and columns in patches.

        Returns:
            `last_hidden_state` (P, E) before the merger, and `pooler_output` (N, D).
        """
        frames = [(rows, columns) for count, rows, columns in grid.tolist() for _ in range(count)]
        lengths = [rows * columns for rows, columns in frames]
        patches_PE = self.patch_embed(pixel_values)
        class_1E = self.class_embedding.unsqueeze(0).to(patches_PE.dtype)
        hidden_TE = torch.cat([torch.cat([class_1E, frame]) for frame in patches_PE.split(lengths)])
        angles_TA = self._angles(frames)
        whole_T1A = torch.cat([angles_TA, angles_TA], -1).unsqueeze(1)
        cos_T1A, sin_T1A = whole_T1A.cos(), whole_T1A.sin()
        hidden_TE = self.pre_layernorm(hidden_TE)
        with_class = [length + 1 for length in lengths]
        for block in self.blocks:
            hidden_TE = block(hidden_TE, cos_T1A, sin_T1A, with_class)
        # Each frame's own class token goes: in all frames it is the first, wherever the frame begins.
        hidden_PE = torch.cat([frame[1:] for frame in hidden_TE.split(with_class)])
        return BaseModelOutputWithPooling(last_hidden_state=hidden_PE, pooler_output=self.merger(hidden_PE))

    def _angles(self, frames: Sequence[tuple[int, int]]) -> Tensor:
        """Rotary angles (T, A) in float32: learned ones of the class token, then by row and column."""
        device = self.class_pos_emb.device
        steps = torch.arange(0, self.angles, 2, dtype=torch.float32, device=device) / self.angles
        known: dict[tuple[int, int], Tensor] = {}
        for rows, columns in frames:
            places_P2 = _places(rows, columns, self.spatial_merge_size, device)
            known[rows, columns] = (places_P2.unsqueeze(-1) / THETA**steps).flatten(1)
        class_1A = self.class_pos_emb.float()
        return torch.cat([torch.cat([class_1A, known[frame]]) for frame in frames])


def _places(rows: int, columns: int, merge: int, device: torch.device) -> Tensor:
    """Row and column of each patch (P, 2) of a frame, in the order of patches: block by block."""
    row, column = torch.meshgrid(
        torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"
    )
    blocks = torch.stack([row, column], -1).view(rows // merge, merge, columns // merge, merge, 2)
    return blocks.transpose(1, 2).reshape(-1, 2)
