"""Messages of a harness as a prompt with its images, and written text as what a harness scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from latentvr.errors import ImageError, RecordError
from latentvr.integrations.chat import parts_of, question, reply

RED, BLUE = Image.new("RGB", (8, 6), "red"), Image.new("L", (4, 4), 30)


def _asked(parts: list[tuple[str, Any]]) -> tuple[str, list[tuple[int, int]]]:
    made = question(parts, "task x")
    assert all(image.mode == "RGB" for image in made.images)
    return made.prompt, [image.size for image in made.images]


@pytest.mark.parametrize(
    ("parts", "prompt", "sizes"),
    [
        ([("image", RED), ("text", "Q?")], "<image>Q?", [(8, 6)]),
        ([("text", "a"), ("image", RED), ("text", "b"), ("image", BLUE)], "a<image>b<image>",
         [(8, 6), (4, 4)]),
        ([("image", BLUE), ("image", RED), ("text", "Q?")], "<image><image>Q?", [(4, 4), (8, 6)]),
        ([("text", "no image")], "no image", []),
        # The text's own marks say where the images go.
        ([("image", BLUE), ("image", RED), ("text", "is <image> in <image> ?")], "is <image> in <image> ?",
         [(4, 4), (8, 6)]),
    ],
)  # fmt: skip
def test_images_stay_apart_and_in_their_places(parts: Any, prompt: str, sizes: Any) -> None:
    assert _asked(parts) == (prompt, sizes)


@pytest.mark.parametrize(
    ("parts", "got"),
    [
        ([("image", RED), ("text", "<image> and <image>")], "got 2 beside 1 images"),
        ([("text", "<image> then"), ("image", RED)], "got 1 beside 1 images"),
        ([("video", "a.mp4")], "got a part of type 'video'"),
        ([("image", "https://example.org/a.png")], "got 'https://example.org/a.png'"),
        ([("image", None)], "got 'None'"),
    ],
)
def test_what_one_turn_cannot_hold_is_refused(parts: Any, got: str) -> None:
    with pytest.raises(RecordError, match=got):
        question(parts, "task x, document 3")


def test_files_are_opened_safely(tmp_path: Path) -> None:
    RED.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"not a picture")
    data = (tmp_path / "a.png").read_bytes()
    for value in (str(tmp_path / "a.png"), data, {"bytes": data, "path": None}):
        assert _asked([("image", value)]) == ("<image>", [(8, 6)])
    with pytest.raises(ImageError, match=r"at task x, image 1"):
        question([("image", str(tmp_path / "b.png"))], "task x")


def test_messages_give_their_parts_in_order() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "image", "url": RED}, {"type": "image", "image": BLUE}]
    messages = [{"role": "user", "content": content}, {"role": "user", "content": "b"}]
    found = list(parts_of(messages, "task x"))
    assert found == [("text", "a"), ("image", RED), ("image", BLUE), ("text", "b")]


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_turns_of_others_are_refused(role: str) -> None:
    with pytest.raises(RecordError, match=f"got one of the {role}, at task x"):
        list(parts_of([{"role": role, "content": "You are"}], "task x"))


@pytest.mark.parametrize(
    ("text", "stops", "scored"),
    [
        ("B", [], "B"),
        # The first letter of the whole text is the A of "Answer", or the l of a marker.
        ("<|x_start|><|x_end|>\n<answer> B </answer>", [], "B"),
        ("Answer is here <answer>C</answer> done", [], "C"),
        ("<answer> D", [], "D"),
        ("B. and then\nmore", ["\n"], "B. and then"),
        ("\n<answer> B </answer>", ["\n"], "B"),
        ("B STOP <answer>C</answer>", ["STOP"], "B"),
        ("  B  ", [""], "B"),
    ],
)
def test_what_a_harness_scores_is_the_bare_answer(text: str, stops: list[str], scored: str) -> None:
    assert reply(text, ["<|x_start|>", "<|x_end|>"], stops) == scored
