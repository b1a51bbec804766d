"""Losses, gradients and optimiser steps of training, on every model, layout and variant of the folder."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import LoraConfig
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Stage

STAGE = Stage("sft", CAUSAL)
KERNELS = pytest.mark.parametrize("kernel", ["mask", "two_pass"])
IGNORED = -100


def _means(model: Any, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Each term's mean over its items, and `total`."""
    terms = model(batch, STAGE)
    counts = {"ce": (batch["labels"][:, 1:] != IGNORED).sum(), **model.reasoner.loss_counts(batch)}
    means = {name: term.total / counts[name] for name, term in terms.items()}
    return {**means, "total": sum(terms[name].weight * mean for name, mean in means.items())}


def _parameters(model: Any) -> dict[str, list[nn.Parameter]]:
    """Trained parameters by their published names; those of the new tokens belong to the two matrices."""
    language = model.backbone.language_model.named_parameters()
    found = {f"model.{name}": [parameter] for name, parameter in language}
    found["model.embed_tokens.weight"].append(model.rows.rows)
    if model.rows.head_rows is not None:
        found["lm_head.weight"] = [model.backbone.model.lm_head.weight, model.rows.head_rows]
    for name, parameter in model.extra.named_parameters():
        found[f"extra.{name}"] = [parameter]
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {id(p) for p in trained} == {id(p) for group in found.values() for p in group}
    return found


def _gradient(model: Any, parameters: list[nn.Parameter]) -> Tensor:
    """Gradient of a parameter, that of the rows of new tokens added where they stand in a matrix."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    if len(gradients) == 2:
        ids = model.rows.ids if parameters[1] is model.rows.rows else model.rows.ids[model.rows.written]
        gradients[0].index_add_(0, ids, gradients[1])
    return gradients[0]


def _check_norms(model: Any, agree: Any, norms: dict[str, float], renamed: dict[str, str]) -> None:
    found = {renamed.get(name, name): group for name, group in _parameters(model).items()}
    assert set(found) == set(norms)
    # The rounding of a whole gradient is no difference of a part a thousand times smaller. Where a trained
    # model is almost sure, probabilities less 1 are rounded at 6e-8, whatever is left of them.
    floor = max(1e-3 * sum(norm**2 for norm in norms.values()) ** 0.5, 5e-3)
    for name, group in found.items():
        agree("gradient norms", _gradient(model, group).norm(), norms[name], name, floor)


def _check_gradients(model: Any, agree: Any, arrays: dict[str, Any]) -> None:
    """The gradients that a file holds whole: `grad_norm_w`, `grad_l0_q_bias` and so on."""
    found = _parameters(model)
    for key in (key for key in arrays if key.startswith("grad_")):
        layer = re.fullmatch(r"grad_l(\d+)_([qkvo])_(weight|bias)", key)
        name = "model.norm.weight"
        if layer:
            name = f"model.layers.{layer[1]}.self_attn.{layer[2]}_proj.{layer[3]}"
        elif key != "grad_norm_w":
            pytest.fail(f"no parameter is known for {key}")
        agree("gradients", _gradient(model, found[name]), arrays[key], key)


@KERNELS
def test_losses_and_gradients(golden: Any, models: Any, agree: Any, loss_case: str, kernel: str) -> None:
    name, layout, which = loss_case.split("/")
    file = f"sft/batch_{layout}.npz" if which == "batch" else f"sft/sample_{layout}_{which}.npz"
    wanted, arrays = golden.json("sft/losses.json")[loss_case], golden.arrays(file)
    model = models.load(name, kernel, layout=layout, weight=golden.json("meta.json")["lambda_lvr"])
    set_trainable(model, "language", LoraConfig())
    means = _means(model, golden.batch(arrays))
    for ours, theirs in (("ce", "loss_ce"), ("lvr", "loss_lvr"), ("total", "loss_total")):
        agree("losses", means[ours], wanted[theirs], theirs)
    means["total"].backward()
    if "grad_norm" in wanted:
        _check_norms(model, agree, wanted["grad_norm"], {})
    whole = [p.grad for group in _parameters(model).values() for p in group if p.grad is not None]
    agree("gradient norms", nn.utils.get_total_norm(whole), wanted["grad_norm_total"], "of all")
    if name == "model":
        _check_gradients(model, agree, arrays)


@KERNELS
def test_three_optimiser_steps(golden: Any, models: Any, agree: Any, adamw_case: str, kernel: str) -> None:
    """The rows of new tokens decay here, as parts of their matrices do."""
    name, layout, _ = adamw_case.split("/")
    wanted, arrays = golden.json("sft/losses.json")[adamw_case], golden.arrays(f"sft/batch_{layout}.npz")
    model = models.load(name, kernel, layout=layout, weight=golden.json("meta.json")["lambda_lvr"])
    set_trainable(model, "language", LoraConfig())
    found = _parameters(model)
    assert set(wanted["no_decay"]) <= set(found)
    kept = [p for name, group in found.items() for p in group if name in wanted["no_decay"]]
    decayed = [p for name, group in found.items() for p in group if name not in wanted["no_decay"]]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": kept, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=wanted["lr"], weight_decay=wanted["weight_decay"])
    batch = golden.batch(arrays)
    for step, (ce, latent, total, norm) in enumerate(wanted["steps"]):
        optimiser.zero_grad()
        means = _means(model, batch)
        means["total"].backward()
        agree("losses", means["ce"], ce, f"cross-entropy of step {step}")
        agree("losses", means["lvr"], latent, f"latents of step {step}")
        agree("losses", means["total"], total, f"total of step {step}")
        clipped = nn.utils.clip_grad_norm_([*decayed, *kept], wanted["clip"])
        agree("gradient norms", clipped, norm, f"of step {step}")
        optimiser.step()


@KERNELS
def test_variants(golden: Any, models: Any, agree: Any, variant_case: str, kernel: str) -> None:
    """Other distances, heads, the end vector and the end marker's logit, on the padded batch."""
    variant, layout = variant_case.split("/")
    wanted = golden.json("variants/losses.json")[variant_case]
    arrays = golden.arrays(f"sft/batch_{layout}.npz")
    weight = golden.json("meta.json")["lambda_lvr"]
    weights = {"weight": weight, "end_weight": weight, "switch_weight": weight}
    model = models.load("model", kernel, variant, layout=layout, **weights)
    set_trainable(model, "language", LoraConfig())
    means = _means(model, golden.batch(arrays, closing=model.reasoner.options.end_vector))
    agree("losses", means["ce"], wanted["loss_ce"], "cross-entropy")
    agree("losses", means["lvr"], wanted["loss_lvr"], "latents")
    third = [means[name] for name in ("lvr_end", "lvr_switch") if name in means]
    assert len(third) == (wanted["loss_mode_switch"] is not None)
    for mean in third:
        agree("losses", mean, wanted["loss_mode_switch"], "end of latents")
    agree("losses", means["total"], wanted["total_with_0.1_each"], "total")
    means["total"].backward()
    published = model.reasoner.published_tensors({name: torch.zeros(1) for name in wanted["grad_norm"]})
    assert set(published) == {name for name, _ in model.extra.named_parameters()}
    _check_norms(model, agree, wanted["grad_norm"], _published_names(model, wanted["grad_norm"]))


def _published_names(model: Any, names: dict[str, float]) -> dict[str, str]:
    """Published names of the method's modules, by ours."""
    found = {}
    for name in names:
        for own in model.reasoner.published_tensors({name: torch.zeros(1)}):
            found[f"extra.{own}"] = name
    return found
