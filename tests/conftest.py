"""Tiny models of both families with any method on them, and samples of several shapes."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentvr.config.schema import LoraConfig, ModelConfig
from latentvr.data.record import Record
from latentvr.reasoners import registry

TINY_FAMILIES = ("tiny-qwen2.5-vl", "tiny-qwen3-vl", "tiny-llava-ov-1.5")
# These folders ask nothing of a family that tests of models, decoding and the contract do not ask: with the
# last family they run in `make test-slow` alone.
SAME_FOR_ALL = ("diagnostics", "evaluation", "reasoners", "rl")
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

    def stock(self, family: str, untied: bool = False) -> tuple[Any, Any]:
        """A fresh stock model with its processor, the same on every call; `untied` gives its head own values.

        Its decoder's weights are larger than at a usual start: that writes the same word for every question.
        """
        from latentvr.models.load import load_stock

        if family not in self._stock:
            model, processor = load_stock(self.settings(family))
            for parameter in model.model.language_model.layers.parameters():
                parameter.data *= 3.0 if parameter.dim() > 1 else 1.0
            self._stock[family] = (model, processor)
        model, processor = copy.deepcopy(self._stock[family])
        return (_untied(model) if untied else model), processor

    def settings(self, family: str, kernel: str = "mask", **changes: Any) -> ModelConfig:
        """The `model` section of a recipe."""
        lora = LoraConfig(r=4, alpha=8, dropout=0.0)
        return ModelConfig(path=family, dtype="float32", attention=kernel, lora=lora, **changes)

    def model(
        self, family: str, name: str = "direct", kernel: str = "mask", untied: bool = False, **options: Any
    ) -> Any:
        """A model with a method on it, in evaluation mode."""
        from latentvr.attention.visibility import CAUSAL
        from latentvr.models.load import attach

        stock, processor = self.stock(family, untied)
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

    def prompts(self, model: Any, records: Sequence[Record], ends: Sequence[str] = ("",)) -> list[Any]:
        """Encoded prompts, each with a new token of the method after it, as if the model had written it."""
        prompts = self.encode(model, records, answer=False)
        added = [[model.token_ids[end]] if end else [] for end in ends]
        return [self.went_on(model, p, added[i % len(ends)]) for i, p in enumerate(prompts)]

    def went_on(self, model: Any, sample: Any, ids: Sequence[int], slots: Sequence[bool] = ()) -> Any:
        """A sample with further tokens, some of them latent slots; all positions are computed anew."""
        import torch

        from latentvr.attention.roles import Role

        markers = model.get_buffer("markers").tolist()
        latent = [
            slot or token in markers for token, slot in zip(ids, slots or [False] * len(ids), strict=True)
        ]
        added = torch.where(torch.tensor(latent, dtype=torch.bool), int(Role.LATENT), int(Role.ANSWER))
        whole = torch.cat([sample.ids, torch.tensor(ids, dtype=torch.long)])
        roles = torch.cat([sample.roles, added.to(torch.int8)])
        grid = sample.grid if len(sample.grid) else None
        positions = model.backbone.positions(whole[None], whole[None] == model.image_token_id, grid)[:, 0]
        return replace(sample, ids=whole, labels=whole, roles=roles, positions=positions)

    def collated(self, samples: Sequence[Any], side: str = "left") -> dict[str, Any]:
        """A padded batch of encoded samples."""
        from latentvr.data.collate import collate

        return collate(samples, 0, side)  # type: ignore[arg-type]


def _untied(stock: Any) -> Any:
    """The model with a head of its own: that of the embedding upside down."""
    import torch

    config = stock.config
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    other = type(stock)(config)
    other.load_state_dict(stock.state_dict())
    with torch.no_grad():
        other.lm_head.weight.copy_(other.lm_head.weight.flip(0))
    return other


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what `SAME_FOR_ALL` says."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if folder in SAME_FOR_ALL and TINY_FAMILIES[-1] in item.name:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the largest difference of each kind of number that tests compared with files.

    It stands here and not beside those tests: a process that only collects reports loads no deeper file.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for report in [report for reports in terminalreporter.stats.values() for report in reports]:
        if getattr(report, "when", None) == "call":
            for name, value in report.user_properties:
                if name == "difference":
                    kind, apart, allowed = value
                    found.setdefault(kind, []).append((apart, allowed))
    if not found:
        return
    terminalreporter.section("largest differences")
    terminalreporter.write_line(f"{'kind':20}{'comparisons':>12}{'largest':>12}{'tolerance':>12}")
    for kind, differences in sorted(found.items()):
        apart, allowed = max(differences, key=lambda pair: (pair[0] != pair[0], pair[0]))
        terminalreporter.write_line(f"{kind:20}{len(differences):>12}{apart:>12.2g}{allowed:>12g}")


@pytest.fixture(scope="session")
def complete_golden() -> Any:
    """Makes a complete model folder of a golden model, its tokenizer and an image processor."""

    def make(golden: Path, name: str, folder: Path) -> Path:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        shutil.copytree(golden / name, folder)
        shutil.copytree(golden / "tokenizer", folder, dirs_exist_ok=True)
        meta = json.loads((golden / "meta.json").read_text(encoding="utf-8"))
        vision = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vision_config"]
        Qwen2VLImageProcessorPil(
            min_pixels=meta["min_pixels"],
            max_pixels=meta["max_pixels"],
            patch_size=vision["patch_size"],
            merge_size=vision["spatial_merge_size"],
            temporal_patch_size=vision["temporal_patch_size"],
        ).save_pretrained(folder)
        return folder

    return make


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
