"""The published data file through our reader, encoder and collator, against the batches that it became."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from latentvr.data.collate import collate
from latentvr.data.readers import open_source
from latentvr.evaluation.prompts import encoder_for

LAYOUTS = pytest.mark.parametrize("layout", ["A", "B"])


def _samples(golden: Any, models: Any, layout: str) -> tuple[Any, list[Any], list[dict[str, Any]]]:
    """The model, and of each record that became a file: our sample, and the file's arrays."""
    source = open_source(golden.existing("sft_data.json"), golden.folder / "images")
    model = models.load("model", layout=layout)
    encoder = encoder_for(model)
    samples, wanted = [], []
    for number, record in enumerate(source.records):
        file = f"sft/sample_{layout}_{number}.npz"
        if (golden.folder / file).is_file():
            samples.append(encoder.encode(record, source.images(record)))
            wanted.append(golden.arrays(file))
    if not samples:
        pytest.skip(f"no sample of layout {layout} in {golden.folder}")
    return model, samples, wanted


@LAYOUTS
def test_a_record_becomes_the_published_sample(golden: Any, models: Any, agree: Any, layout: str) -> None:
    """The published pipeline alone writes a newline after the end of turn."""
    model, samples, files = _samples(golden, models, layout)
    newline = model.processor.tokenizer("\n").input_ids
    for sample, wanted in zip(samples, files, strict=True):
        batch, length = golden.batch(wanted), len(sample.ids)
        agree("ids", [*sample.ids.tolist(), *newline], wanted["input_ids"][0])
        agree("roles", sample.roles, batch["roles"][0, :length])
        agree("labels", sample.labels, batch["labels"][0, :length])
        agree("positions", sample.positions, wanted["position_ids"][:, 0, :length])
        agree("pixel values", sample.pixel_values, wanted["pixel_values"])
        agree("pixel values", sample.grid, wanted["image_grid_thw"], "grid")
        agree("slots", sample.slots, batch["slots"])


@LAYOUTS
def test_a_batch_of_records_points_at_its_own_tokens(
    golden: Any, models: Any, agree: Any, layout: str
) -> None:
    """Slots and visual tokens are counted through the batch: each slot finds a token of its own image."""
    model, samples, files = _samples(golden, models, layout)
    batch = collate(samples, model.processor.tokenizer.pad_token_id)
    counts = [len(wanted["roi_token_indices"]) for wanted in files]
    agree("slots", batch["slots"][:, 0], np.arange(sum(counts)), "numbers")
    embeddings = model.features(batch)[0][batch["slots"][:, 1]]
    agree("region embeddings", embeddings, np.concatenate([wanted["gt_visual_embeds"] for wanted in files]))
    rows = torch.eq(batch["input_ids"], golden.token("<|lvr|>")).sum(1)
    agree("slots", rows, counts, "of each row")
