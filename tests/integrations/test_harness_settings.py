"""Arguments of a harness and of its tasks, as settings; and questions answered in batches."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import latentvr
from latentvr.data.toy import Toy
from latentvr.errors import CheckpointError, RecipeError, RecordError
from latentvr.integrations.answering import Answerer
from latentvr.integrations.chat import Question, question
from latentvr.integrations.harness_generation import settings_of_task
from latentvr.integrations.harness_settings import Harness, full_key, open_harness

TINY = "tiny-qwen2.5-vl"
CPU = {"device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="module")
def harness() -> Harness:
    return open_harness(TINY, {**CPU, "batch_size": 2}, "--model_args")


@pytest.fixture(scope="module")
def spans(span_checkpoint: Path) -> Harness:
    return open_harness(str(span_checkpoint), {"device": "cpu", "batch_size": 3}, "--model_args")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("max_pixels", "model.max_pixels"),
        ("latent_steps", "decode.latent_steps"),
        ("decode.exit", "decode.exit"),
        ("batch_size", "eval.batch_size"),
        ("torch_dtype", "model.dtype"),
        ("attn_implementation", "model.attention"),
        ("num_latents", "reasoner.latents"),
        ("reasoner.anything", "reasoner.anything"),
    ],
)
def test_short_names_mean_keys_of_the_recipe(name: str, key: str) -> None:
    assert full_key(name, "--model_args") == key


@pytest.mark.parametrize("name", ["max_pixel", "optim.learning_rate", "model.path", "epochs", "nonsense"])
def test_what_no_evaluation_changes_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"got '{name}', at --model_args"):
        full_key(name, "--model_args")


def test_values_reach_the_model_in_their_types(span_checkpoint: Path) -> None:
    """lmms-eval hands over 4, not "4"; other callers texts."""
    options = {"latent_steps": 4, "max_pixels": "3136", "device": "cpu", "visibility": "bottleneck"}
    made = open_harness(str(span_checkpoint), options, "--model_args")
    assert (made.decode.latent_steps, made.decode.visibility) == (4, "bottleneck")
    assert made.answerer.model.processor.image_processor.size["longest_edge"] == 3136
    assert made.decode.max_new_tokens == 24  # that of the run's recipe
    assert made.fixed == {"latent_steps", "visibility"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_pixels": "many"}, "model.max_pixels.*expected a whole number, got 'many'"),
        ({"batch_size": "auto"}, "eval.batch_size.*expected a whole number, got 'auto'"),
        ({"batch_size": 0}, "eval.batch_size.*expected at least 1, got 0"),
        ({"temperature": -1}, "decode.temperature"),
        ({"device": "tpu"}, "expected auto, cpu, cuda or cuda:N, got 'tpu', at --model_args"),
        ({"num_latents": 16}, "expected an option of the method 'direct', got 'reasoner.latents'"),
        ({"max_pixels": 3136, "image_max_pixels": 3136}, "got model.max_pixels twice"),
    ],
)
def test_a_wrong_argument_is_one_sentence(options: dict[str, Any], error: str) -> None:
    with pytest.raises(RecipeError, match=error) as caught:
        open_harness(TINY, {**CPU, **options}, "--model_args")
    assert "\n" not in str(caught.value)


def test_the_checkpoint_is_needed_and_has_its_own_method(span_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="expected pretrained=CKPT, got none"):
        open_harness("", {}, "--model_args")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="expected a run with checkpoints"):
        open_harness(str(tmp_path), {"device": "cpu"}, "--model_args")
    open_harness(str(span_checkpoint), {"device": "cpu", "reasoner.layout": "B"}, "--model_args")
    with pytest.raises(RecipeError, match=r"expected reasoner\.layout=B, with which .* got A"):
        open_harness(str(span_checkpoint), {"device": "cpu", "reasoner.layout": "A"}, "--model_args")


@pytest.mark.parametrize(
    ("asked", "changes"),
    [
        ({"max_new_tokens": 5, "temperature": 0, "do_sample": False, "top_p": None, "num_beams": 1}, {}),
        ({"max_new_tokens": "5", "temperature": 0.7}, {"do_sample": True, "temperature": 0.7}),
        ({"max_new_tokens": 5.0, "temperature": 0.7, "do_sample": False}, {}),
        ({"max_new_tokens": 5, "temperature": 0, "do_sample": True, "top_p": 0}, {}),
        ({"max_new_tokens": 5, "do_sample": True, "top_k": 3}, {"do_sample": True, "top_k": 3}),
        ({"max_new_tokens": 5, "do_sample": "False", "temperature": "0.7"}, {}),
        ({"max_new_tokens": 5, "do_sample": "0", "temperature": 0.7, "num_beams": "1"}, {}),
        ({"max_new_tokens": 5, "do_sample": "true", "top_k": 3}, {"do_sample": True, "top_k": 3}),
        ({"max_new_tokens": 5, "do_sample": 1, "top_k": 3}, {"do_sample": True, "top_k": 3}),
        ({"max_new_tokens": 5, "until": "###"}, {"stop_strings": ["###"]}),
        ({"max_new_tokens": 5, "until": ["\n\n"], "image_aspect_ratio": "pad", "use_cache": True}, {}),
        ({"max_new_tokens": 5, "seed": 3, "repetition_penalty": 1.1}, {"seed": 3, "repetition_penalty": 1.1}),
    ],
)
def test_generation_of_a_task(
    harness: Harness, asked: dict[str, Any], changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        decode, _ = settings_of_task(harness, asked, "task x")
    assert decode == replace(harness.decode, max_new_tokens=5, **changes)
    assert caplog.text == ""


def test_white_space_ends_the_answer_and_not_the_writing(harness: Harness) -> None:
    """A line break stands before a wrapped answer; two are lmms-eval's filling for tasks without an end."""
    decode, stops = settings_of_task(harness, {"until": ["\n", "\n\n", "###"]}, "task x")
    assert (decode.stop_strings, stops) == (["###"], ["###", "\n"])


def test_what_is_not_known_is_said_once(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        settings_of_task(harness, {"frequency_penalty": 1, "best_of": 2}, "task x")
    assert [r.getMessage() for r in caplog.records] == [
        "task x asks for best_of, frequency_penalty, which has no meaning here and is left out"
    ]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"num_beams": 3}, "expected num_beams=1, got 3, at task x"),
        ({"max_new_tokens": "long"}, "expected int, got 'long', at task x, max_new_tokens"),
        ({"max_new_tokens": 2.5}, "expected a whole number, got 2.5"),
        ({"max_new_tokens": float("inf")}, "expected int, got inf, at task x, max_new_tokens"),
        ({"max_new_tokens": 10**400}, "expected int, got 1000"),
        ({"num_beams": "many"}, "expected int, got 'many', at task x, num_beams"),
        ({"do_sample": "no"}, "expected true or false, got 'no', at task x, do_sample"),
        ({"do_sample": 2}, "expected true or false, got 2"),
        ({"max_new_tokens": 0}, "decode.max_new_tokens: expected at least 1"),
        ({"temperature": 0.5, "top_p": 0}, "decode.top_p"),
        ({"until": [3]}, "expected texts"),
    ],
)
def test_wrong_generation_of_a_task_is_refused(harness: Harness, asked: dict[str, Any], error: str) -> None:
    with pytest.raises(RecipeError, match=error):
        settings_of_task(harness, asked, "task x")


def test_a_task_counts_text_and_arguments_beat_it(spans: Harness, span_checkpoint: Path) -> None:
    """Sixteen tokens are no room for eight latent steps, two markers and a wrapped answer."""
    decode, _ = settings_of_task(spans, {"max_new_tokens": 16}, "task x")
    assert decode.max_new_tokens == 16 + spans.decode.latent_steps + 2
    fixed = open_harness(str(span_checkpoint), {"device": "cpu", "max_new_tokens": 9}, "--model_args")
    assert settings_of_task(fixed, {"max_new_tokens": 16}, "task x")[0].max_new_tokens == 9


def _questions(lab: Any) -> list[Question]:
    """Of several numbers of images, and some that the checkpoint was trained to answer."""
    own = Toy(("digit_at_mark",), "test", 3, seed=7)
    asked = [(record, own.images(record)) for record in own.records]
    asked += [(record, lab.images(record)) for record in lab.records.values()]
    return [
        question([*(("image", image) for image in images), ("text", record.prompt)], record.id)
        for record, images in asked
    ]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_answers_are_those_of_generate_in_order(lab: Any, span_checkpoint: Path, batch_size: int) -> None:
    """The texts and the order are those of the Python interface, whatever the batch."""
    assistant = latentvr.load(span_checkpoint, "cpu")
    questions = _questions(lab) * 2
    made = list(Answerer(assistant.model, batch_size).answers(iter(questions), assistant.decode))
    wanted = [assistant.generate(q.prompt, q.images) for q in questions]
    assert [reply.text for reply in made] == [w.answer for w in wanted]
    assert [reply.tokens for reply in made] == [len(w.ids) for w in wanted]
    assert any("<answer>" in w.text for w in wanted)


def test_a_prompt_with_control_tokens_names_its_place(harness: Harness) -> None:
    asked = question(
        [("image", Image.new("RGB", (28, 28))), ("text", "a <|im_end|> b")], "task x, document 7"
    )
    with pytest.raises(RecordError, match="at task x, document 7"):
        list(harness.answerer.answers([asked], harness.decode))
