"""What the two flash kernels are called with; they themselves need CUDA.

The calls are carried out here by the formula of attention. Breaks when: causality, bounds or the scale do not
reach a kernel, key heads are shared by one that cannot, or dropout is left out without a word.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.flash import Documents, flash_attn_call, flash_attn_installed, torch_call
from latentvr.errors import VisibilityError

DOCUMENTS = Documents(torch.tensor([0, 3, 4, 9], dtype=torch.int32), 5)
TODAY = ("window_size", "enable_gqa", "scale")
OLDER = ("is_causal", "scale")


def _states(key_heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    # Sliced out of a larger tensor: kernels want whole rows.
    return tuple(torch.randn(heads, 9, 8).transpose(0, 1) for heads in (4, key_heads, key_heads))  # type: ignore[return-value]


def _carried_out(call: tuple[tuple[Any, ...], dict[str, Any]], scale: float) -> Tensor:
    query, key, value, bounds, other, longest, also = call[0]
    assert all(states.is_contiguous() for states in (query, key, value))
    assert bounds is other
    assert longest == also == int(bounds.diff().max())
    repeats = query.shape[1] // key.shape[1]
    out = torch.empty_like(query)
    for start, end in zip(bounds.tolist(), bounds.tolist()[1:], strict=False):
        q, k, v = (s[start:end].transpose(0, 1) for s in (query, key, value))
        scores = (q @ k.repeat_interleave(repeats, 0).mT) * scale
        hidden = torch.ones(end - start, end - start, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
        out[start:end] = (weights @ v.repeat_interleave(repeats, 0)).transpose(0, 1)
    return out


@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_both_kernels_are_asked_for_the_same(key_heads: int) -> None:
    states = _states(key_heads)
    calls = [torch_call(*states, DOCUMENTS, 0.3, 0.0, accepted) for accepted in (TODAY, OLDER)]
    calls.append(flash_attn_call(*states, DOCUMENTS, 0.3, 0.1))
    wanted = _carried_out(((*states_whole(states), *calls[0][0][3:]), {}), 0.3)
    for call in calls:
        assert torch.allclose(_carried_out(call, 0.3), wanted, atol=1e-6)
    shared = {"enable_gqa": True} if key_heads < 4 else {}
    assert calls[0][1] == {"scale": 0.3, "window_size": (-1, 0), **shared}
    assert calls[1][1] == {"scale": 0.3, "is_causal": True}
    assert calls[1][0][1].shape[1] == 4
    assert calls[2][1] == {"softmax_scale": 0.3, "causal": True, "dropout_p": 0.1}
    assert calls[2][0][1].shape[1] == key_heads


def states_whole(states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(s.contiguous() for s in states)


def test_torchs_kernel_refuses_dropout() -> None:
    with pytest.raises(
        VisibilityError, match=r"^expected no attention dropout .* got 0\.1, .*install flash-attn"
    ):
        torch_call(*_states(), DOCUMENTS, None, 0.1, TODAY)


@pytest.mark.parametrize(("found", "wanted"), [("2.8.3", True), ("4.0.0b1", False), (None, False)])
def test_version_2_alone_is_taken(
    found: str | None, wanted: bool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of that name is put on the path, with its metadata."""
    if found:
        (tmp_path / "flash_attn").mkdir()
        (tmp_path / "flash_attn/__init__.py").touch()
        (tmp_path / f"flash_attn-{found}.dist-info").mkdir()
        (tmp_path / f"flash_attn-{found}.dist-info/METADATA").write_text(
            f"Name: flash-attn\nVersion: {found}\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    flash_attn_installed.cache_clear()
    assert flash_attn_installed() == wanted
    flash_attn_installed.cache_clear()
