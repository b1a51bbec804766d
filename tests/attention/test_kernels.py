"""Choice of the kernel, and what all of them must hold: no leak, no change where nothing is blocked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from latentvr.attention.kernels import KERNELS, implementation, prepare, resolve
from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL, PRESETS, Visibility
from latentvr.errors import VisibilityError

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="flex attention on a CPU needs g++")
EVERY_KERNEL = ["mask", "two_pass", "varlen", pytest.param("flex", marks=needs_compiler)]
LONELY = Visibility("lonely", frozenset({(Role.LATENT, Role.LATENT)}))


def answer_shift(tiny: Any, batch: Any, kernel: str, visibility: Visibility) -> float:
    """Largest change of an answer's logit when all that comes from pixels changes."""
    answers = batch.roles[batch.roles != int(Role.PAD)] == int(Role.ANSWER)
    with torch.no_grad():
        torch.manual_seed(3)
        before = tiny.logits(batch, kernel, visibility)[answers]
        after = tiny.logits(batch.with_other_images(), kernel, visibility)[answers]
    return float((before - after).abs().max())


@pytest.mark.parametrize("kernel", EVERY_KERNEL)
def test_without_latents_the_bottleneck_lets_nothing_through(
    tiny: Any, batch_of: Callable[..., Any], kernel: str
) -> None:
    batch = batch_of(["..PIIIPIIPPAAA", "PIIIIIPPAAAAA."])
    assert answer_shift(tiny, batch, kernel, BOTTLENECK) == 0.0


@pytest.mark.parametrize("removed", sorted(BOTTLENECK.blocked))
@pytest.mark.parametrize("kernel", EVERY_KERNEL)
def test_the_leak_test_notices_one_pair_that_is_missing(
    tiny: Any, batch_of: Callable[..., Any], kernel: str, removed: tuple[Role, Role]
) -> None:
    batch = batch_of(["..PIIIPIIPPAAA", "PIIIIIPPAAAAA."])
    leaky = Visibility("leaky", BOTTLENECK.blocked - {removed})
    assert answer_shift(tiny, batch, kernel, leaky) > 1e-3


@pytest.mark.parametrize("kernel", EVERY_KERNEL)
def test_with_latents_the_image_comes_through(tiny: Any, batch_of: Callable[..., Any], kernel: str) -> None:
    batch = batch_of(["..PIIIPLIPPAAA", "PIIIIIPPLLAAA."])
    assert answer_shift(tiny, batch, kernel, BOTTLENECK) > 1e-3


@pytest.mark.parametrize("kernel", ["mask", "varlen"])
def test_packed_documents_do_not_reach_each_other(
    tiny: Any, batch_of: Callable[..., Any], kernel: str
) -> None:
    batch = batch_of(["PIIPLA PPA"], ["000000 111"])
    other = batch_of(["PIIPLA PPA"], ["000000 111"])
    other.embeds[:, :6] += 1.0
    with torch.no_grad():
        shift = tiny.logits(batch, kernel, CAUSAL) - tiny.logits(other, kernel, CAUSAL)
    assert shift[:6].abs().max() > 1e-3
    assert float(shift[6:].abs().max()) == 0.0


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_eager_and_sdpa_read_the_mask_alike(
    tiny: Any, batch_of: Callable[..., Any], rows: list[str], name: str
) -> None:
    batch = batch_of(rows)
    with torch.no_grad():
        sdpa = tiny.logits(batch, "mask", PRESETS[name])
        eager = tiny.logits(batch, "mask", PRESETS[name], eager=True)
    assert (sdpa - eager).abs().max() < 1e-5 * sdpa.abs().max()


@pytest.mark.parametrize("kernel", ["two_pass", "varlen"])
def test_without_a_plan_the_kernels_are_stock_sdpa(
    tiny: Any, batch_of: Callable[..., Any], kernel: str
) -> None:
    batch = batch_of(["..PIIPLA", "PIIPLAAA"])
    mask = (batch.roles != int(Role.PAD)).long()
    with torch.no_grad():
        found = tiny.hidden(batch, implementation(kernel), mask)
        assert torch.equal(found, tiny.hidden(batch, "sdpa", mask))


def test_causal_without_padding_is_the_plain_model_bit_by_bit(
    tiny: Any, batch_of: Callable[..., Any]
) -> None:
    batch = batch_of(["PIIPLA", "PIIPLL"])
    inputs = prepare("two_pass", CAUSAL, batch.roles, dtype=torch.float32)
    with torch.no_grad():
        found = tiny.hidden(batch, implementation("two_pass"), inputs.attention_mask, **inputs.kwargs)
        assert torch.equal(found, tiny.hidden(batch, "sdpa", None))


@pytest.mark.parametrize("kernel", ["two_pass", "varlen"])
def test_a_prefill_with_a_plan_goes_on_over_its_cache(
    tiny: Any, batch_of: Callable[..., Any], kernel: str
) -> None:
    batch = batch_of(["..PIIPL", "PIIIPPL"])
    new = torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(4))
    decoder = tiny.model.model.language_model

    def last_hidden(name: str) -> Tensor:
        inputs = prepare(name, CAUSAL, batch.roles, dtype=torch.float32)
        tiny.model.set_attn_implementation({"text_config": implementation(name)})
        cache = DynamicCache(config=tiny.model.config.text_config)
        shared = {"past_key_values": cache, "use_cache": True}
        mask = inputs.attention_mask
        decoder(
            inputs_embeds=batch.embeds,
            position_ids=batch.positions,
            attention_mask=mask,
            **shared,
            **inputs.kwargs,
        )
        seen = torch.nn.functional.pad((batch.roles != int(Role.PAD)).long(), (0, 1), value=1)
        step = decoder(
            inputs_embeds=new,
            position_ids=torch.full((3, 2, 1), 9),
            attention_mask=seen,
            **shared,
        )
        return step.last_hidden_state

    with torch.no_grad():
        assert torch.allclose(last_hidden(kernel), last_hidden("mask"), atol=1e-5)


@pytest.mark.parametrize("kernel", ["two_pass", "varlen"])
def test_a_kernel_that_cannot_honour_a_visibility_refuses(
    roles_of: Callable[[list[str]], Tensor], kernel: str
) -> None:
    with pytest.raises(VisibilityError, match="LATENT, LATENT"):
        prepare(kernel, LONELY, roles_of(["PILA"]), dtype=torch.float32)
    with pytest.raises(VisibilityError, match="LATENT, LATENT"):
        resolve(kernel, LONELY)


def test_auto_takes_the_fast_kernel_that_is_exact() -> None:
    assert resolve("auto", BOTTLENECK) == "two_pass"
    assert resolve("auto", BOTTLENECK, packed=True) == "varlen"
    assert resolve("auto", LONELY) == "mask"
    assert [resolve(kernel, BOTTLENECK) for kernel in KERNELS] == list(KERNELS)


def test_two_pass_is_refused_for_packed_rows() -> None:
    with pytest.raises(VisibilityError, match="fix: use kernel=varlen"):
        resolve("two_pass", BOTTLENECK, packed=True)


@pytest.mark.parametrize("name", ["flash_attention_2", "flash_attention_3", "two-pass", ""])
def test_unknown_kernels_and_stock_flash_are_refused(name: str) -> None:
    for refused in (lambda: resolve(name, CAUSAL), lambda: implementation(name)):
        with pytest.raises(VisibilityError, match="expected an attention kernel of two_pass, varlen"):
            refused()


def test_eager_is_a_form_of_the_mask_alone() -> None:
    assert implementation("mask", eager=True) == "eager"
    with pytest.raises(VisibilityError, match="expected kernel=mask for eager"):
        implementation("two_pass", eager=True)


def test_the_package_page_needs_no_torch() -> None:
    code = "import sys, latentvr.attention; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
