"""Models whose use of their latents is known by construction, and what the diagnosis says about them.

A decoder of one layer, without rotation of positions, whose weights are written by hand in a random
orthonormal basis of its width. Reserved directions carry single facts: `seen` (which of four pictures an
image token shows), `latent` (the same in a latent slot), `carried` (on its way there), `said` (what the head
reads), and flags. The MLP writes nothing, so that the layer adds one average of what attended tokens hold.
The head prefers one word a little: without facts that is what the model says. Breaks when: an intervention
leaves something of the record, takes more than it says, or the rule reads figures wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from latentvr.attention.roles import Role
from latentvr.config.schema import DecodeConfig, EvalConfig, ReasonerConfig, Recipe
from latentvr.data.layout import Layout, NewToken, Segment, plain_layout
from latentvr.data.record import Record
from latentvr.diagnostics.diagnose import Diagnosis, diagnose
from latentvr.diagnostics.figures import table
from latentvr.diagnostics.interventions import chosen
from latentvr.diagnostics.verdict import verdict
from latentvr.models import tiny
from latentvr.models.latent_model import LatentModel
from latentvr.models.qwen2_5_vl import Qwen25VLBackbone
from latentvr.reasoners.base import LatentReasoner, LatentSpan

WORDS = ("red", "green", "blue", "yellow")
COLOURS = ((230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 20))
START, SLOT, END = "<|x_start|>", "<|x|>", "<|x_end|>"
SLOTS, RECORDS, SIDE = 2, 64, 32
NEEDED = ("zeros", "mean", "noise_matched", "noise_norm", "swap", "blank_image", "markers_only", "drop")
#: What stands in the slots is all that these change: every other number keeps its place.
REPLACED = NEEDED[:6]
FEW, MANY = range(5), range(5, 20)


class Source:
    """Noisy pictures of four colours, as often as each other, in a random order."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.classes = rng.permutation(np.arange(RECORDS) % len(WORDS)).tolist()
        noise = rng.integers(-20, 21, (RECORDS, SIDE, SIDE, 3))
        self._pixels = np.clip(np.array(COLOURS)[self.classes][:, None, None] + noise, 0, 255)
        self.records = tuple(
            Record(f"r{i}", "colour", "test", (str(i),), "which colour ?", WORDS[c], "text")
            for i, c in enumerate(self.classes)
        )

    def images(self, record: Record) -> list[Image.Image]:
        return [Image.fromarray(self._pixels[int(name)].astype(np.uint8)) for name in record.images]

    def where(self, record: Record) -> str:
        return record.id


class InPrompt(LatentReasoner):
    """Two slots between markers behind the prompt, fed the mean of the image through a matrix."""

    def tokens(self) -> list[NewToken]:
        return [NewToken(START, role=None), NewToken(SLOT), NewToken(END, role=None)]

    def modules(self, hidden_size: int) -> dict[str, nn.Module]:
        self.carry = nn.Linear(hidden_size, hidden_size, bias=False)
        return {"carry": self.carry}

    def layout(self, record: Record) -> Layout:
        plain = plain_layout(record)
        return Layout((*plain.user, Segment("tokens", START + SLOT * SLOTS + END)), plain.answer)

    def slot_inputs(self, batch: Any, features_FND: Any, stage: Any) -> Tensor | None:
        del stage
        rows = len(batch["roles"])
        if not bool(torch.eq(batch["roles"], int(Role.LATENT)).any()):
            return None
        mean: Tensor = self.carry(features_FND[0].view(rows, -1, features_FND.shape[-1]).mean(1))
        return mean.repeat_interleave(SLOTS, 0)


class InAnswer(LatentReasoner):
    """Two slots between markers in the answer, fed the last state through a matrix."""

    def tokens(self) -> list[NewToken]:
        start = NewToken(START, role=Role.LATENT, sampled=True, slot=False)
        return [start, NewToken(SLOT), NewToken(END, role=None)]

    def modules(self, hidden_size: int) -> dict[str, nn.Module]:
        self.carry = nn.Linear(hidden_size, hidden_size, bias=False)
        return {"carry": self.carry}

    def layout(self, record: Record) -> Layout:
        plain = plain_layout(record)
        return Layout(plain.user, (Segment("tokens", START + SLOT * SLOTS + END), *plain.answer))

    def span(self) -> LatentSpan:
        return LatentSpan(START, SLOT, (END,))

    def latent_inputs(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.carry(hidden)
        return out


@dataclass(frozen=True)
class Facts:
    """Directions of the width D; four of each of the first kinds."""

    seen: Tensor
    latent: Tensor
    carried: Tensor
    said: Tensor
    flags: Tensor  # is attended to, opens a span, has closed one, is a word, is a marker, markers were seen
    text: Tensor  # is no image
    rest: Tensor

    @classmethod
    def drawn(cls, width: int, seed: int) -> Facts:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(width, width, generator=generator, dtype=torch.float64)
        return cls(*torch.linalg.qr(drawn)[0].float().split([4, 4, 4, 4, 6, 1, width - 23]))


def _stock(processor: Any, seed: int) -> Any:
    """A decoder of one layer that adds and rotates nothing, with a head of its own."""
    from transformers import AutoModelForImageTextToText

    config = tiny.qwen2_5_vl_config(processor)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    config.vision_config.depth = config.text_config.num_hidden_layers = 1
    config.text_config.layer_types = config.text_config.layer_types[:1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stock = AutoModelForImageTextToText.from_config(config, dtype=torch.float32).requires_grad_(False)
    layer = stock.model.language_model.layers[0]
    stock.model.language_model.rotary_emb.inv_freq.zero_()
    for part in (*layer.self_attn.children(), layer.mlp.down_proj, stock.lm_head):
        for parameter in part.parameters():
            parameter.zero_()
    stock.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    return stock


def _show(model: LatentModel, source: Source, facts: Facts) -> None:
    """Have the tower say which picture a token is of: its last layer is fitted, exactly, to its inputs."""
    grey = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
    pictures = [*(source.images(record)[0] for record in source.records), grey]
    last, got = model.backbone.vision_tower.merger.mlp[2], []
    handle = last.register_forward_pre_hook(lambda _, inputs: got.append(inputs[0]))
    model.backbone.encode_images(*model.processor.encode_images(pictures))
    handle.remove()
    shown = torch.cat([facts.seen[source.classes], torch.zeros(1, facts.seen.shape[1])]) + facts.flags[0]
    wanted = shown.repeat_interleave(len(got[0]) // len(shown), 0)
    inputs = nn.functional.pad(got[0], (0, 1), value=1.0).double()
    weight = torch.linalg.pinv(inputs) @ wanted.double()
    last.weight.copy_(weight[:-1].T)
    last.bias.copy_(weight[-1])


def _attend(model: LatentModel, facts: Facts, moves: list[tuple[Tensor, Tensor]], alone: bool) -> None:
    """Write an average of facts of all tokens, or of those with the first flag alone, as other facts.

    Alone means exactly: the others' scores are lower by more than a hundred, so that their weight is 0 in
    float32, whatever noise they hold.
    """
    attention = model.backbone.language_model.layers[0].self_attn
    for i, (read, write) in enumerate(moves):
        attention.v_proj.weight[i] = read
        attention.o_proj.weight[:, i] = write
    if alone:
        attention.q_proj.bias.fill_(15.0)
        attention.k_proj.weight[:] = 2.0 * facts.flags[0]


def _speak(model: LatentModel, facts: Facts, seed: int, wrong: float) -> None:
    """Token embeddings without facts, but flags; a head that reads what is said, and ends after a word.

    `wrong` is how likely a wrong word is without markers; 0 prefers the first right one a little.
    """
    generator = torch.Generator().manual_seed(seed)
    _, opens, closed, word, _, markers = facts.flags
    tokenizer, embedding_VD = model.processor.tokenizer, model.backbone.embedding_weight
    head_VD = model.backbone.untied_head
    noise = torch.randn(len(embedding_VD), len(facts.rest), generator=generator) / len(facts.rest) ** 0.5
    embedding_VD.copy_(noise @ facts.rest + facts.text[0])
    tokens = [tokenizer(name, add_special_tokens=False).input_ids[-1] for name in ("\n", *WORDS, "purple")]
    for token, said in zip(tokens[1:5], facts.said, strict=True):
        embedding_VD[token] += 4 * word
        head_VD[token] = said
    preferred = tokens[5] if wrong else tokens[1]
    head_VD[preferred] += wrong * facts.text[0] - 20 * markers if wrong else 0.05 * facts.text[0]
    head_VD[tokenizer.eos_token_id] = 20 * word
    # Answers begin after the prompt's last token or after the end marker: the two differ in a flag alone.
    model.rows.rows.copy_(noise[: len(model.rows.rows)] @ facts.rest)
    model.rows.rows[2] = embedding_VD[tokens[0]] + closed
    embedding_VD[tokens[0]] += opens
    if model.rows.head_rows is not None:
        model.rows.head_rows[0] = 100 * (opens - closed)


#: What the answers need, by construction, and what has to be said about it.
TRUTHS = {"latents": "used", "nothing": "not shown to be used", "markers": "markers suffice"}
KINDS = {"prompt": InPrompt, "answer": InAnswer}


@torch.no_grad()
def planted(processor: Any, source: Source, kind: str, truth: str, seed: int) -> LatentModel:
    """Build a model.

    latents: the answer is what the slots say, and they are the only tokens that say anything to it.
    nothing: the answer is what the image says, and the slots, which say it too, get no attention at all.
    markers: as before, but a wrong word is likelier than the answer where no markers are seen.
    """
    backbone = Qwen25VLBackbone(_stock(processor, seed))
    model = LatentModel(backbone, KINDS[kind](ReasonerConfig()), processor, seed).requires_grad_(False).eval()
    facts = Facts.drawn(backbone.width, seed)
    attended, _, _, _, marker, markers = facts.flags
    _show(model, source, facts)
    _speak(model, facts, seed, 20.0 if truth == "markers" else 0.0)
    if truth == "markers":
        # As long as what an image token holds, so that it gets as much attention.
        model.rows.rows[0] = attended + marker
    # In prompts what is fed is made of the image, in answers of the last state, which has seen the image.
    model.reasoner.carry.weight.copy_(facts.latent.T @ (facts.seen if kind == "prompt" else facts.carried))
    told = facts.latent if truth == "latents" else facts.seen
    loud = facts.said * (4 if truth == "latents" else 1)
    moves = [*zip(facts.seen, facts.carried, strict=True), *zip(told, loud, strict=True), (marker, markers)]
    _attend(model, facts, moves, alone=truth != "latents")
    return model


def _diagnose(processor: Any, kind: str, truth: str, seed: int) -> Diagnosis:
    source = Source(seed)
    model = planted(processor, source, kind, truth, seed)
    decode = DecodeConfig(max_new_tokens=SLOTS + 4, latent_steps=SLOTS)
    recipe = Recipe(decode=decode, eval=EvalConfig(batch_size=RECORDS))
    return diagnose(model, source, recipe, chosen(NEEDED), seeds=1, readings=False)


@pytest.fixture(scope="module")
def processor(lab: Any) -> Any:
    return lab.stock("tiny-qwen2.5-vl")[1]


@pytest.mark.parametrize("seeds", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "many"])
@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_is_the_truth(processor: Any, kind: str, truth: str, seeds: range) -> None:
    """A seed gives pictures, their order, and all weights."""
    for seed in seeds:
        found = _diagnose(processor, kind, truth, seed)
        figures = table(found.baseline, found.conditions)
        assert figures["baseline"].correct == RECORDS
        assert set(figures) == {"baseline", "identity", *NEEDED}
        said = verdict(figures, found.has_latents)
        assert said.word == TRUTHS[truth], (seed, said)
        if truth == "nothing":
            _require_nothing_changed(found)


def _require_nothing_changed(found: Diagnosis) -> None:
    """Bit for bit, though no probability is 1: what gets no attention cannot be told from anything else.

    Where slots go, matrices have other shapes and sums another order: the last bit may differ there.
    """
    before = found.baseline
    assert all(0.5 < probability < 0.95 for probability in before.probabilities)
    for condition in found.conditions:
        (after,) = condition.runs
        if condition.name in REPLACED:
            assert after == before
        assert [p.text for p in after.predictions] == [p.text for p in before.predictions]
        assert after.probabilities == pytest.approx(before.probabilities, abs=1e-5)
