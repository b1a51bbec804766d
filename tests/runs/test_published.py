"""Checkpoints of the LVR authors, made here from a tiny model with their names, shapes and config keys."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import latentvr
from latentvr.config.load import load
from latentvr.config.schema import DecodeConfig
from latentvr.errors import CheckpointError, ModelError, RecipeError
from latentvr.runs.evaluate import evaluate
from latentvr.runs.sft import build_model, train

TOKENS = {
    "lvr_start_id": "<|lvr_start|>",
    "lvr_id": "<|lvr|>",
    "lvr_latent_end_id": "<|lvr_latent_end|>",
    "lvr_end_id": "<|lvr_end|>",
}
INNER = 96
OURS = {"ln_q": "norm", "mlp.0": "first", "mlp.2": "second"} | {
    f"{n}_proj": n for n in ("gate", "up", "down")
}
Make = Callable[..., Path]


def head_tensors(kind: str, width: int, inner: int = INNER) -> dict[str, torch.Tensor]:
    """Random weights under the published names."""
    layers = {
        "": {},
        "simple": {"ln_q": (width,), "mlp.0": (width, width), "mlp.2": (width, width)},
        "glu": {"gate_proj": (inner, width), "up_proj": (inner, width), "down_proj": (width, inner)},
    }[kind]
    random = torch.Generator().manual_seed(1)
    shapes = {f"lvr_head.{n}.weight": s for n, s in layers.items()}
    shapes |= {f"lvr_head.{n}.bias": s[:1] for n, s in layers.items()}
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


def modules_of(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The method's weights under our names."""
    out = {}
    for name, value in tensors.items():
        if not name.startswith("lvr_"):
            continue
        module, _, kind = name.removeprefix("lvr_head.").rpartition(".")
        out["end.vector" if module == "" else f"head.{OURS[module]}.{kind}"] = value
    return out


def same(model: Any, wanted: dict[str, torch.Tensor]) -> bool:
    """Whether the model's modules are these weights, to the bit."""
    found = model.extra.state_dict()
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def write(state: dict[str, torch.Tensor], folder: Path, shards: int) -> None:
    if shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    index, names = {}, sorted(state)
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file({n: state[n] for n in names[i::shards]}, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(names[i::shards], file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


@pytest.fixture
def make(lab: Any, tmp_path: Path) -> Make:
    def build(
        head: str = "",
        end: bool = False,
        shards: int = 1,
        texts: tuple[str, ...] = tuple(TOKENS.values()),
        extra: dict[str, torch.Tensor] | None = None,
        **changes: Any,
    ) -> Path:
        folder = tmp_path / "published"
        folder.mkdir()
        ids = lab.stock("tiny-qwen2.5-vl")[1].add_tokens(TOKENS.values())
        stock, processor = lab.stock("tiny-qwen2.5-vl")
        processor.add_tokens(texts)
        processor.save(folder)
        stock.config.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        config = {**config.pop("text_config"), **config, **dict(zip(TOKENS, ids, strict=True))}
        config |= {"lvr_head": bool(head), "lvr_head_type": head or "simple", "latent_end_token": end}
        config |= changes
        (folder / "config.json").write_text(json.dumps(config))
        own = head_tensors(head, config["hidden_size"])
        own |= {"lvr_latent_end_emb": torch.randn(config["hidden_size"])} if end else {}
        own |= extra or {}
        named = {k: v.contiguous() for k, v in stock.state_dict().items() if k != "lm_head.weight"}
        flat = {
            k.replace("model.visual.", "visual.").replace(".language_model", ""): v for k, v in named.items()
        }
        write({**flat, **own}, folder, shards)
        return folder

    return build


@pytest.mark.parametrize(
    ("head", "end", "shards", "told"),
    [
        ("", False, 1, "layout A, head none, no end vector"),
        ("simple", False, 1, "layout A, head mlp, no end vector"),
        ("glu", False, 3, f"layout A, head glu of inner width {INNER}, no end vector"),
        ("", True, 1, "layout A, head none, an end vector"),
        ("simple", True, 2, "layout A, head mlp, an end vector"),
    ],
)
def test_a_folder_is_recognised_and_gives_all_its_weights(
    make: Make, caplog: pytest.LogCaptureFixture, head: str, end: bool, shards: int, told: str
) -> None:
    # Breaks if a module keeps its random start, or a marker's row is drawn anew.
    folder = make(head, end, shards)
    with caplog.at_level(logging.INFO, "latentvr"):
        model = latentvr.load(folder, "cpu", dtype="float32").model
    assert [m for m in caplog.messages if "published" in m] == [
        f"{folder}: a published checkpoint of lvr, {told}"
    ]
    options = model.reasoner.config
    assert (options.name, options.layout, options.end_vector) == ("lvr", "A", end)
    stored: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        stored |= load_file(file)
    assert same(model, modules_of(stored))
    matrix = stored["model.embed_tokens.weight"]
    assert torch.equal(model.rows.rows.detach(), matrix[[model.token_ids[t] for t in TOKENS.values()]])
    assert torch.equal(model.backbone.embedding_weight, matrix)


def test_a_folder_without_the_keys_is_a_plain_model(make: Make) -> None:
    folder = make(**dict.fromkeys(TOKENS))
    assert latentvr.load(folder, "cpu").model.reasoner.config.name == "direct"


def test_generate_and_eval_use_the_method(make: Make, tmp_path: Path) -> None:
    folder = make("simple", True)
    assistant = latentvr.load(folder, "cpu", dtype="float32")
    assert assistant.decode == DecodeConfig()
    done = assistant.generate("how many ?", [Image.new("RGB", (64, 64), "red")], max_new_tokens=9)
    with pytest.raises(RecipeError, match=r"latent_steps: expected fewer .* \(8\), got 8; fix: "):
        assistant.generate("how many ?", max_new_tokens=8)
    assert done.latents.shape[1] == assistant.model.backbone.width
    overrides = ["data.source=toy", "data.tasks=[counting]", "data.toy.test=2", "decode.max_new_tokens=9"]
    result = evaluate(folder, [*overrides, "model.dtype=float32", "train.device=cpu"], out=tmp_path / "out")
    assert len(result.predictions) == 2


def refused(folder: Path, *parts: str) -> None:
    with pytest.raises(CheckpointError) as error:
        latentvr.load(folder, "cpu")
    message = str(error.value)
    assert message.startswith("expected ")
    assert "; fix: " in message
    assert "\n" not in message
    assert all(part in message for part in parts), message


WRONG = {
    "no head": ({"lvr_head": True}, ["the tensor 'lvr_head.ln_q.bias'", "lvr_head_type=simple", "got none"]),
    "another kind": ({"head": "glu", "lvr_head_type": "simple"}, ["no tensor 'lvr_head.down_proj.bias'"]),
    "head not in config": ({"head": "simple", "lvr_head": False}, ["no tensor 'lvr_head.ln_q.bias'"]),
    "shape": (
        {"head": "simple", "extra": {"lvr_head.mlp.2.weight": torch.zeros(128, 7)}},
        ["'lvr_head.mlp.2.weight' of shape (128, 128)", "got (128, 7)", "model.safetensors"],
    ),
    "no end vector": ({"latent_end_token": True}, ["'lvr_latent_end_emb'", "latent_end_token=True"]),
    "no end in config": ({"end": True, "latent_end_token": False}, ["no tensor 'lvr_latent_end_emb'"]),
    "unknown head": ({"lvr_head": True, "lvr_head_type": "x"}, ["lvr_head_type of simple, glu", "got 'x'"]),
    "other ids": ({"lvr_id": 5}, ["the id 5 of '<|lvr|>'", "in the tokenizer"]),
    "no markers": ({"texts": ()}, ["the token '<|lvr_start|>'", "got none"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(make: Make, case: str) -> None:
    settings, parts = WRONG[case]
    refused(make(**settings), *parts, "published")


@pytest.mark.parametrize("gone", TOKENS.values())
def test_a_tokenizer_without_a_marker(make: Make, gone: str) -> None:
    # Breaks if the token is added: it gets the id of config.json by chance, and a random row.
    refused(make(texts=tuple(t for t in TOKENS.values() if t != gone)), f"the token {gone!r}", "got none")


def test_a_file_of_the_index_that_is_missing(make: Make) -> None:
    folder = make("simple", shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused(folder, "'model-00002-of-00002.safetensors'", "got none")


def test_an_index_that_leads_out_of_the_folder(make: Make) -> None:
    folder = make("simple", shards=2)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}})
    )
    refused(folder, "'../elsewhere.safetensors'", "beside the index")


def test_damaged_weights(make: Make) -> None:
    folder = make("simple")
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    refused(folder, "complete safetensors file", "model.safetensors")


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged, that of transformers included."""
    theirs = logging.getLogger("transformers.modeling_utils")
    theirs.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING, theirs.name):
        yield caplog
    theirs.removeHandler(caplog.handler)


def test_a_missing_matrix_of_the_backbone_is_still_refused(
    make: Make, told: pytest.LogCaptureFixture
) -> None:
    folder = make("simple")
    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    write(state, folder, 1)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj"):
        latentvr.load(folder, "cpu")
    assert "LOAD REPORT" in told.text


def test_only_tensors_without_a_use_are_reported(make: Make, told: pytest.LogCaptureFixture) -> None:
    # Breaks if the table of transformers comes through, or if hiding it hides a stray tensor too.
    latentvr.load(make("simple", extra={"stray.weight": torch.zeros(2)}), "cpu")
    assert "not used, the model has no place for them: stray.weight" in told.messages
    assert "LOAD REPORT" not in told.text


def recipe(*overrides: str) -> Any:
    """One step of training the rows and modules alone, on two samples."""
    data = ["data.source=toy", "data.tasks=[counting]", "data.toy.train=2", "data.toy.validation=2"]
    steps = ["stages.sft.steps=1", "optim.trainable=tokens", "train.keep=last", "train.device=cpu"]
    base = ["reasoner.name=lvr", "model.path=tiny-qwen2.5-vl", "model.dtype=float32"]
    return load(None, [*base, *data, *steps, *overrides])


def test_training_goes_on_from_the_head_of_the_folder(make: Make) -> None:
    folder = make("simple", True)
    asked = ["reasoner.head=mlp", "reasoner.layout=A", "reasoner.end_vector=true"]
    model = build_model(recipe(f"model.path={folder}", *asked).recipe)
    assert same(model, modules_of(load_file(folder / "model.safetensors")))


@pytest.mark.parametrize(
    ("there", "asked", "named"),
    [
        ("simple", "glu", "reasoner.head=mlp"),
        ("simple", "none", "reasoner.head=mlp"),
        ("", "mlp", "reasoner.head=none"),
    ],
)
def test_training_with_another_head_is_refused(make: Make, there: str, asked: str, named: str) -> None:
    changed = recipe(f"model.path={make(there)}", "reasoner.layout=A", f"reasoner.head={asked}").recipe
    with pytest.raises(
        CheckpointError, match=f"expected {named} as in the checkpoint, got {asked}, .*; fix: "
    ):
        build_model(changed)


def test_training_in_another_layout_is_refused(make: Make) -> None:
    """The checkpoints were trained with the other one: the default would change it without a word."""
    with pytest.raises(CheckpointError, match=r"expected reasoner\.layout=A as in the checkpoint, got B"):
        build_model(recipe(f"model.path={make('')}").recipe)


def test_a_head_on_a_plain_backbone_starts_new() -> None:
    heads = [build_model(recipe("reasoner.head=mlp", f"train.seed={s}").recipe).extra for s in (1, 1, 2)]
    first, same, other = (head["head"].first.weight for head in heads)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_run_from_a_published_head_loads_again_and_is_refused_without_it(
    make: Make, tmp_path: Path
) -> None:
    asked = [f"model.path={make('simple')}", "reasoner.head=mlp", "reasoner.layout=A"]
    kept = train(recipe(*asked, f"train.output_dir={tmp_path / 'run'}", "optim.trainable=language"))
    assert latentvr.load(kept, "cpu").model.reasoner.config.head == "mlp"
    # The checkpoint as the backbone of another run: its head is there, and goes on.
    again = build_model(recipe(f"model.path={kept}", *asked[1:]).recipe)
    saved = load_file(kept / "reasoner.safetensors")
    assert same(again, saved)
    with pytest.raises(CheckpointError, match="among the method's modules"):
        build_model(recipe(f"model.path={kept}").recipe)
    gone = {name: value for name, value in saved.items() if not name.startswith("head.first")}
    save_file(gone, kept / "reasoner.safetensors")
    with pytest.raises(CheckpointError, match=r"expected head\.first\.bias of shape .* got None"):
        build_model(recipe(f"model.path={kept}", *asked[1:]).recipe)
