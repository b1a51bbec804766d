"""Greedy decoding with a fixed number of latent steps: every forward of every file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.loop import generate
from latentvr.reasoners.base import Stage

STAGE = Stage("test", CAUSAL)


class Forwards:
    """What the decoding loop shows of each forward."""

    def __init__(self) -> None:
        self.hidden: list[Tensor] = []
        self.inputs: list[Tensor | None] = []
        self.positions: list[Tensor] = []
        self.latent: list[bool] = []

    def __call__(
        self, step: int, hidden: Tensor, inputs: Tensor | None, positions: Tensor, inside: Tensor
    ) -> None:
        assert step == len(self.hidden)
        self.hidden.append(hidden[0])
        self.inputs.append(None if inputs is None else inputs[0])
        self.positions.append(positions[:, 0])
        self.latent.append(bool(inside[0]))


def _model(golden: Any, models: Any, file: str, kernel: str) -> tuple[Any, int]:
    """The model and the steps of `{model}_N{steps}_{i}.npz`; a variant may stand behind or for the model."""
    stem = Path(file).stem
    parts = re.fullmatch(r"(.+)_N(\d+)_\d+", stem)
    if parts is None:
        pytest.skip(f"no model and steps in the name {stem!r}")
    folders = [folder.removesuffix("/config.json") for folder in golden.files("*/config.json")]
    fitting = [folder for folder in folders if f"{parts[1]}_".startswith(f"{folder}_")]
    name = max(fitting, key=len, default="model")
    variant = parts[1].removeprefix(name if fitting else "").strip("_")
    return models.load(name, kernel, variant, layout="A"), int(parts[2])


def _prompt(golden: Any, model: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    named = {key: arrays[key] for key in ("attention_mask", "pixel_values", "image_grid_thw")}
    batch: dict[str, Any] = golden.batch({**named, "input_ids": arrays["prompt_ids"]})
    ids = batch["input_ids"]
    image = torch.eq(ids, model.image_token_id)
    return {**batch, "position_ids": model.backbone.positions(ids, image, batch["image_grid_thw"])}


@pytest.mark.parametrize("kernel", ["mask", "two_pass"])
def test_every_forward_of_greedy_decoding(
    golden: Any, models: Any, agree: Any, decode_file: str, kernel: str
) -> None:
    """A span one step too long or too short, or fed another state, changes every forward after it."""
    wanted = golden.arrays(decode_file)
    model, steps = _model(golden, models, decode_file, kernel)
    _skip_heads_left_out(model, wanted)
    completion = wanted["completion_ids"]
    ended = bool(np.isin(completion[-1], model.end_ids))
    # Room for one token more, so that an answer that ends must end by itself.
    decode = DecodeConfig(
        max_new_tokens=len(completion) + ended,
        latent_steps=steps,
        exit="steps",
        force_end=False,
        suppress=False,
    )
    forwards = Forwards()
    (rollout,) = generate(model, _prompt(golden, model, wanted), STAGE, decode, watch=forwards)
    slots = np.isin(np.arange(len(completion)), wanted["latent_completion_index"])
    agree("slots", rollout.slot, slots, "in the completion")
    agree("ids", np.array(rollout.ids)[~slots], completion[~slots], "outside the slots")
    assert set(np.array(rollout.ids)[slots]) <= {golden.token("<|lvr|>")}
    assert rollout.finish == ("end" if ended else "length")
    agree("latents", rollout.fed, wanted["latents"], "fed")
    agree("slots", forwards.latent, wanted["fwd_is_latent"], "among the forwards")
    agree("positions", torch.stack(forwards.positions), wanted["fwd_position"])
    hidden = torch.stack(forwards.hidden)
    agree("hidden states", hidden, wanted["fwd_last_hidden"])
    agree("logits", model.logits(hidden, suppress=False), wanted["fwd_logits"])
    _check_inputs(model, agree, forwards, wanted)


def _skip_heads_left_out(model: Any, wanted: dict[str, Any]) -> None:
    """With a head, the published loop feeds the first latent without it; ours applies it as training does."""
    first = wanted["latents"][:1]
    bare = np.allclose(first, wanted["fwd_last_hidden"][: len(first)], atol=1e-4)
    if model.reasoner.head is not None and bare:
        pytest.skip("this file feeds the first latent without the head, which no training does")


def _check_inputs(model: Any, agree: Any, forwards: Forwards, wanted: dict[str, Any]) -> None:
    """Latents at latent forwards, in order, and the embedding of the file's token at all others."""
    latents = iter(wanted["latents"])
    for step, fed in enumerate(forwards.inputs):
        token = torch.tensor(int(wanted["fwd_input_token"][step]))
        if wanted["fwd_is_latent"][step]:
            agree("latents", fed, next(latents), f"forward {step}")
        elif step:
            agree("inputs as fed", fed, model.embed(token[None, None])[0, 0], f"forward {step}")
