"""Point 4: a sample gives the same in a batch of four, padded left or right, as alone.

Breaks when: padding is seen, positions come from the padded length, or images of a batch change places.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.loop import generate
from latentvr.reasoners.base import Stage

TOLERANCE = 1e-5
DECODE = DecodeConfig(max_new_tokens=4)


@torch.no_grad()
def _hidden_rows(model: Any, batch: dict[str, Any], visibility: Visibility) -> list[torch.Tensor]:
    hidden = model.hidden(batch, model.features(batch), Stage("s", visibility))
    return [row[roles != Role.PAD] for row, roles in zip(hidden, batch["roles"], strict=True)]


@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
def test_a_batch_of_four_is_four_singles(lab: Any, shared_model: Any, visibility: Visibility) -> None:
    model, records = shared_model, list(lab.records.values())
    alone = [_hidden_rows(model, lab.batch(model, [r]), visibility)[0] for r in records]
    for side in ("right", "left"):
        together = _hidden_rows(model, lab.batch(model, records, side), visibility)
        for one, other in zip(alone, together, strict=True):
            assert float((one - other).abs().max()) < TOLERANCE, side


def test_the_loss_of_a_batch_is_the_sum_of_its_samples(lab: Any, mask_model: Any) -> None:
    model, records = mask_model, list(lab.records.values())
    stage = Stage("s", BOTTLENECK)
    with torch.no_grad():
        together = model(lab.batch(model, records), stage)
        alone = [model(lab.batch(model, [r]), stage) for r in records]
    for name, term in together.items():
        total = sum(float(terms[name].total) for terms in alone)
        assert float(term.total) == pytest.approx(total, abs=1e-4)


def test_every_auxiliary_term_is_counted(lab: Any, mask_model: Any) -> None:
    """The names of `losses` and `loss_counts` agree, in any batch: processes add up their counts by name."""
    model = mask_model
    for records in (list(lab.records.values()), [lab.records["one image"]]):
        batch = lab.batch(model, records)
        counts = model.reasoner.loss_counts(batch)
        assert {"ce", *counts} == set(model(batch, Stage("s", CAUSAL)))
        assert all(count.ndim == 0 for count in counts.values())


@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
def test_generation_in_a_batch_is_generation_alone(lab: Any, mask_model: Any, visibility: Visibility) -> None:
    model, records = mask_model, list(lab.records.values())
    stage = Stage("s", visibility)
    together = generate(model, lab.batch(model, records, "left", answer=False), stage, DECODE)
    for record, row in zip(records, together, strict=True):
        alone = generate(model, lab.batch(model, [record], "left", answer=False), stage, DECODE)[0]
        assert alone.ids == row.ids
        assert alone.log_probs == pytest.approx(row.log_probs, abs=TOLERANCE)
        assert alone.prompt_latents.shape == row.prompt_latents.shape
        assert torch.allclose(alone.prompt_latents, row.prompt_latents, atol=TOLERANCE)
