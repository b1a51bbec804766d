"""Tiny models of both families with any method on them, and samples of several shapes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from latentvr.config.schema import LoraConfig, ModelConfig
from latentvr.data.record import Record
from latentvr.reasoners import registry

TINY_FAMILIES = ("tiny-qwen2.5-vl", "tiny-qwen3-vl")
TASKS = ("counting", "correspondence", "jigsaw")


class Lab:
    """Builds models and batches; a stock model is made once per family and copied."""

    def __init__(self) -> None:
        from latentvr.data import toy

        self._stock: dict[str, Any] = {}
        self._toy = toy.Toy(TASKS, "train", 2, seed=7)
        first, second = (r for r in self._toy.records if r.task == "counting")
        images = first.images + second.images
        text = "this is one <image> , this is another <image> : how many digits are there ?"
        self.interleaved = replace(first, id="interleaved", images=images, prompt=text)
        self.records: dict[str, Record] = {
            "one image": first,
            "two images": next(r for r in self._toy.records if r.task == "correspondence"),
            "three images": next(r for r in self._toy.records if r.task == "jigsaw"),
            "interleaved": self.interleaved,
        }

    def images(self, record: Record) -> list[Any]:
        """The record's images."""
        return self._toy.images(record)

    def stock(self, family: str) -> tuple[Any, Any]:
        """A fresh stock model with its processor, the same on every call.

        Its decoder's weights are larger than at a usual start: that writes the same word for every question.
        """
        from latentvr.models.load import load_stock

        if family not in self._stock:
            model, processor = load_stock(self.settings(family))
            for parameter in model.model.language_model.layers.parameters():
                parameter.data *= 3.0 if parameter.dim() > 1 else 1.0
            self._stock[family] = (model, processor)
        return copy.deepcopy(self._stock[family])

    def settings(self, family: str, kernel: str = "mask", **changes: Any) -> ModelConfig:
        """The `model` section of a recipe."""
        lora = LoraConfig(r=4, alpha=8, dropout=0.0)
        return ModelConfig(path=family, dtype="float32", attention=kernel, lora=lora, **changes)

    def model(self, family: str, name: str = "direct", kernel: str = "mask", **options: Any) -> Any:
        """A model with a method on it, in evaluation mode."""
        from latentvr.attention.visibility import CAUSAL
        from latentvr.models.load import attach

        stock, processor = self.stock(family)
        reasoner = registry.config_class(name)(**{"name": name, **options})
        return attach(stock, processor, self.settings(family, kernel), reasoner, [CAUSAL], seed=3).eval()

    def encode(
        self, model: Any, records: Sequence[Record], answer: bool = True, drop: bool = False
    ) -> list[Any]:
        """Encoded samples, with answers or without, with latents or without."""
        from latentvr.evaluation.prompts import encoder_for

        encoder = encoder_for(model, drop_latents=drop)
        return [encoder.encode(r, self.images(r), with_answer=answer) for r in records]

    def batch(
        self,
        model: Any,
        records: Sequence[Record],
        side: str = "right",
        answer: bool = True,
        drop: bool = False,
    ) -> dict[str, Any]:
        """A padded batch of records."""
        from latentvr.data.collate import collate

        samples = self.encode(model, records, answer, drop)
        return collate(samples, model.processor.tokenizer.pad_token_id, side)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()


@pytest.fixture(params=TINY_FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Flex attention compiled for this test alone: what torch makes of a second length or number of heads on
    a CPU is not always valid C++.
    """
    import torch

    torch.compiler.reset()
    yield
    torch.compiler.reset()
