"""K rows in place of the matrix: the values and gradients of PEFT's `trainable_token_indices`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import TrainableTokensConfig, get_peft_model
from torch.nn import functional

from latentvr.attention.visibility import CAUSAL
from latentvr.data.encode import IGNORED
from latentvr.data.layout import NewToken
from latentvr.models.token_rows import TokenRows
from latentvr.reasoners.base import Stage

TOKENS = [NewToken("<|a|>", 0.02), NewToken("<|b|>", 1.0)]
NEW = [False, False]
WRITTEN = [NewToken("<|open|>", sampled=True), NewToken("<|slot|>"), NewToken("<|close|>", sampled=True)]


def test_only_the_rows_of_the_ids_are_put_in_place() -> None:
    matrix = torch.randn(10, 6)
    rows = TokenRows(TOKENS, [7, 3], NEW, matrix, None, seed=0)
    ids = torch.tensor([[1, 7, 3], [3, 9, 7]])
    out = rows(ids, functional.embedding(ids, matrix))
    wanted = matrix.clone()
    wanted[[7, 3]] = rows.rows.detach()
    assert torch.equal(out, functional.embedding(ids, wanted))
    rows.write_into(matrix)
    assert torch.equal(matrix, wanted)


def test_rows_start_by_seed_at_their_own_scale() -> None:
    matrix = torch.zeros(10, 4096)
    first, again, other = (TokenRows(TOKENS, [1, 2], NEW, matrix, None, seed=s).rows for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std(dim=1).tolist() == pytest.approx([0.02, 1.0], rel=0.1)


def test_rows_are_float32_beside_a_matrix_of_half_precision() -> None:
    matrix = torch.randn(10, 6, dtype=torch.bfloat16)
    rows = TokenRows(TOKENS, [1, 2], NEW, matrix, None, seed=0)
    ids = torch.tensor([[1, 5]])
    out = rows(ids, functional.embedding(ids, matrix))
    assert rows.rows.dtype is torch.float32
    assert out.dtype is torch.bfloat16


def test_rows_of_known_tokens_are_those_of_the_matrices() -> None:
    """Breaks if a published checkpoint's markers start anew."""
    matrix, head = torch.randn(10, 6), torch.randn(10, 6)
    rows = TokenRows(WRITTEN, [7, 3, 5], [True, True, False], matrix, head, seed=0)
    assert torch.equal(rows.rows[:2], matrix[[7, 3]])
    assert torch.equal(rows.head_rows[:1], head[[7]])
    new, new_head = rows.rows[2].detach(), rows.head_rows[1].detach()
    assert float(new.abs().max()) < 0.2 < float((new - matrix[5]).abs().max())
    assert float(new_head.abs().max()) < 0.2
    assert not torch.equal(new, new_head)


@pytest.mark.parametrize("tied", [True, False])
def test_tokens_are_scored_by_the_rows_of_the_head(tied: bool) -> None:
    """A tied head has all rows, as a saved matrix will; an untied one those of written tokens."""
    matrix, head, hidden = torch.randn(10, 6), torch.randn(10, 6), torch.randn(2, 4, 6)
    rows = TokenRows(WRITTEN, [7, 3, 5], [False] * 3, matrix, None if tied else head, seed=0)
    assert (rows.head_rows is None) is tied
    plain = hidden @ (matrix if tied else head).T
    scores = rows.score(hidden, plain.clone())
    ids, used = ([7, 3, 5], rows.rows) if tied else ([7, 5], rows.head_rows)
    assert torch.allclose(scores[..., ids], hidden @ used.T)
    others = [i for i in range(10) if i not in ids]
    assert torch.equal(scores[..., others], plain[..., others])
    scores.sum().backward()
    assert rows.rows.grad is None if not tied else float(rows.rows.grad.abs().min()) > 0


def test_rows_go_into_both_matrices_and_come_back() -> None:
    matrix, head = torch.randn(10, 6), torch.randn(10, 6)
    rows = TokenRows(WRITTEN, [7, 3, 5], [False] * 3, matrix, head, seed=0)
    other = TokenRows(WRITTEN, [7, 3, 5], [False] * 3, matrix, head, seed=1)
    before = head.clone()
    rows.write_into(matrix, head)
    assert torch.equal(head[[7, 5]], rows.head_rows)
    assert torch.equal(head[3], before[3])
    other.read_from(matrix, head)
    assert torch.equal(other.rows, rows.rows)
    assert torch.equal(other.head_rows, rows.head_rows)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_loss_and_gradient_are_those_of_peft(lab: Any, family: str) -> None:
    """The same loss through PEFT's own module; latent ids are out of its softmax too."""
    model = lab.model(family, "livr", latents=4, init_std=1.0)
    batch = lab.batch(model, [lab.records["two images"], lab.records["one image"]])
    model.rows.requires_grad_(True)
    ours = model(batch, Stage("s", CAUSAL))["ce"].total
    ours.backward()

    ids = model.rows.get_buffer("ids").tolist()
    stock = lab.stock(family)[0].eval()
    stock.get_input_embeddings().weight.data[ids] = model.rows.rows.detach()
    peft = get_peft_model(stock, TrainableTokensConfig(token_indices=ids, target_modules=["embed_tokens"]))
    logits = peft(
        input_ids=batch["input_ids"],
        attention_mask=(batch["roles"] != 0).long(),
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
        mm_token_type_ids=(batch["input_ids"] == model.image_token_id).int(),
    ).logits.index_fill(-1, model.get_buffer("excluded"), float("-inf"))
    wanted, given = batch["labels"][:, 1:], logits[:, :-1]
    keep = wanted != IGNORED
    theirs = functional.cross_entropy(given[keep], wanted[keep], reduction="sum")
    theirs.backward()
    deltas = [p for n, p in peft.named_parameters() if "trainable_tokens_delta" in n]
    found = [p.grad for p in deltas if p.grad is not None]
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-4)
    assert len(found) == 1
    scale = float(found[0].abs().max())
    assert scale > 1e-3
    assert float((model.rows.rows.grad - found[0]).abs().max()) < 1e-6 * scale
