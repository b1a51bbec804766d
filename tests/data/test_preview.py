"""The preview shows every token with its role, and nothing that data could forge."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from latentvr.attention import Role
from latentvr.data import preview
from latentvr.data.dataset import EncodedDataset
from latentvr.data.encode import IGNORED, Encoder
from latentvr.data.layout import Layout, NewToken, Segment, plain_layout
from latentvr.data.preview import Piece, Shown
from latentvr.data.processor import Processor
from latentvr.data.record import Record
from latentvr.data.toy import Toy, corpus
from latentvr.models.tiny import build_processor

TOKENS = [NewToken(f"<|slot_{i}|>") for i in range(6)]


def layout_with(count: int) -> object:
    slots = Segment("tokens", "".join(token.text for token in TOKENS[:count]))

    def layout(record: Record) -> Layout:
        plain = plain_layout(record)
        return Layout((*plain.user, slots), plain.answer)

    return layout


@pytest.fixture(scope="module")
def processor() -> Processor:
    out = build_processor(corpus())
    out.tokenizer.add_special_tokens({"additional_special_tokens": [t.text for t in TOKENS]})
    return out


def dataset(processor: Processor, count: int, tasks: tuple[str, ...] = ("correspondence",)) -> EncodedDataset:
    def positions(ids: object, _images: object, _grid: object) -> object:
        import torch

        assert isinstance(ids, torch.Tensor)
        return torch.arange(ids.shape[1]).expand(3, *ids.shape)

    encoder = Encoder(processor, layout_with(count), TOKENS, positions)  # type: ignore[arg-type]
    return EncodedDataset(Toy(tasks, "train", 1, seed=0), encoder)


@pytest.fixture(scope="module")
def item(processor: Processor) -> Shown:
    return preview.shown(dataset(processor, 6), [0])[0]


def on_terminal(item: Shown, processor: Processor, colours: bool = False) -> str:
    stream = StringIO()
    console = Console(
        file=stream, width=400, force_terminal=colours, color_system="standard" if colours else None
    )
    console.print(preview.terminal([item], processor.tokenizer))
    return stream.getvalue()


def test_pieces_cover_all_tokens_in_order(item: Shown, processor: Processor) -> None:
    pieces = preview.pieces(item.sample, processor.tokenizer)
    assert sum(piece.tokens for piece in pieces) == len(item.sample.ids)
    roles = [int(piece.role) for piece in pieces for _ in range(piece.tokens)]
    assert roles == item.sample.roles.tolist()
    labels = [piece.labelled for piece in pieces for _ in range(piece.tokens)]
    assert labels == (item.sample.labels != IGNORED).tolist()


def test_images_and_long_latent_runs_are_summed_up(item: Shown, processor: Processor) -> None:
    pieces = preview.pieces(item.sample, processor.tokenizer)
    texts = [piece.text for piece in pieces]
    assert [text for text in texts if "image" in text and text.startswith("[")] == [
        "[image 1: 16 tokens]",
        "[image 2: 16 tokens]",
    ]
    assert Piece(Role.LATENT, "[6 latents: <|slot_0|> \u2026 <|slot_5|>]", 6, False) in pieces
    assert pieces[-1] == Piece(Role.ANSWER, item.record.answer + "<|im_end|>", 2, True)
    assert any(item.record.prompt in text for text in texts)


def test_short_latent_runs_are_written_out(processor: Processor) -> None:
    shown = preview.shown(dataset(processor, 2), [0])[0]
    pieces = preview.pieces(shown.sample, processor.tokenizer)
    assert Piece(Role.LATENT, "<|slot_0|><|slot_1|>", 2, False) in pieces


def test_labels_split_a_run_of_one_role(item: Shown, processor: Processor) -> None:
    labels = item.sample.labels.clone()
    labels[-1] = IGNORED
    pieces = preview.pieces(replace(item.sample, labels=labels), processor.tokenizer)
    assert [(piece.text, piece.labelled) for piece in pieces[-2:]] == [
        (item.record.answer, True),
        ("<|im_end|>", False),
    ]


def test_counts_name_roles_and_labels(item: Shown) -> None:
    counts = preview.role_counts(item.sample)
    assert counts["image"] == 32
    assert counts["latent"] == 6
    assert counts["answer"] == counts["labels"] == 2
    assert sum(counts.values()) - counts["labels"] == len(item.sample.ids)


def test_the_terminal_shows_colours_and_underlines_labels(item: Shown, processor: Processor) -> None:
    out = on_terminal(item, processor, colours=True)
    assert re.search(r"\x1b\[[0-9;]*36m\[6 latents", out)
    assert re.search(r"\x1b\[[0-9;]*4[0-9;]*;32m" + item.record.answer, out)
    assert "image 32, prompt" in out


def test_the_terminal_gets_no_escapes_and_no_markup_from_data(item: Shown, processor: Processor) -> None:
    evil = replace(item.record, id="\x1b[2Jid\nforged", task="[red]task[/red]", answer="\x1b]0;t\x07A\x07")
    ids = processor.tokenizer("ask \x1b[31m[bold]this\x1b[0m\x07", add_special_tokens=False).input_ids
    sample = replace(
        item.sample,
        ids=item.sample.ids.new_tensor(ids),
        roles=item.sample.roles.new_full((len(ids),), int(Role.PROMPT)),
        labels=item.sample.labels.new_full((len(ids),), IGNORED),
    )
    out = on_terminal(Shown(evil, item.images, sample), processor)
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "id forged" in out
    assert "[red]task[/red]" in out
    assert "ask [bold]this" in out
    assert "answer: A (mcq)" in out


def test_html_escapes_text_and_embeds_the_images(item: Shown, processor: Processor, tmp_path: Path) -> None:
    evil = replace(item.record, id="<script>alert(1)</script>", answer='"><img src=x onerror=alert(2)>')
    path = preview.html([Shown(evil, item.images, item.sample)], processor.tokenizer, tmp_path / "p.html")
    page = path.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "<script>alert(1)</script>" in unescape(page)
    assert page.count('<img src="data:image/png;base64,') == 2
    assert "default-src 'none'" in page
    assert not re.search(r"https?://", page)


def test_html_marks_roles_and_labels(item: Shown, processor: Processor, tmp_path: Path) -> None:
    page = preview.html([item], processor.tokenizer, tmp_path / "p.html").read_text(encoding="utf-8")
    assert '<span class="role latent" title="latent, 6 tokens">[6 latents' in page
    written = f"{item.record.answer}&lt;|im_end|&gt;"
    assert f'<span class="role answer label" title="answer, 2 tokens">{written}' in page


def test_html_draws_the_regions(processor: Processor, tmp_path: Path) -> None:
    boxed = preview.shown(dataset(processor, 2), [0])[0]
    without = Shown(replace(boxed.record, bboxes=()), boxed.images, boxed.sample)
    pages = [
        preview.html([one], processor.tokenizer, tmp_path / f"{i}.html").read_text(encoding="utf-8")
        for i, one in enumerate((boxed, without))
    ]
    images = [re.findall(r"base64,([^\"]+)", page) for page in pages]
    marked = {box.image for box in boxed.record.bboxes}
    assert marked == {1}
    assert [a != b for a, b in zip(*images, strict=True)] == [False, True]
