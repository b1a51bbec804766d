"""The policy loss against the trainer of TRL 1.16, to the last bit, in value, gradient and logged figures.

Breaks when: an operation changes its order, a normalisation forgets accumulation, rounds of rollouts or other
processes, a bound is on the wrong side, or the correction of the divergence is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentvr.rl.losses import Penalty, clipped, reduced, token_losses

TYPES = pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dapo", "dr_grpo"])
MAX_LENGTH = 16


@pytest.fixture(scope="module")
def trl_loss() -> Any:
    """TRL's own method; it is given what it would have read from its trainer."""
    pytest.importorskip("trl")
    if not version("trl").startswith("1.16."):
        pytest.skip(f"the loss is that of TRL 1.16, and {version('trl')} is installed")
    from trl.trainer.grpo_trainer import GRPOTrainer

    return GRPOTrainer._compute_loss


def _inputs(seed: int = 0, rows: int = 6, columns: int = 11) -> dict[str, Tensor]:
    """Log-probabilities whose ratios leave the range in both directions; one completion has no token."""
    random = torch.Generator().manual_seed(seed)
    log_probs, old_noise, reference_noise = torch.randn(3, rows, columns, generator=random)
    log_probs = log_probs - 3
    lengths = torch.randint(1, columns + 1, (rows, 1), generator=random)
    mask = (torch.arange(columns) < lengths) & (torch.rand(rows, columns, generator=random) > 0.2)
    mask[rows // 2] = False
    return {
        "log_probs": log_probs, "old": log_probs + 0.3 * old_noise, "reference": log_probs + reference_noise,
        "advantages": torch.randn(rows, generator=random), "mask": mask,
    }  # fmt: skip


class _Case(SimpleNamespace):
    """Settings of one comparison; what is not given has TRL's default."""

    def __init__(self, loss_type: str, **given: Any) -> None:
        defaults = {
            "beta": 0.04, "corrected": False, "low": 0.2, "high": 0.2, "with_old": True, "accumulation": 1,
            "steps_per_generation": 1, "processes": 1,
        }  # fmt: skip
        super().__init__(loss_type=loss_type, **{**defaults, **given})


def _theirs(trl_loss: Any, case: _Case, data: dict[str, Tensor], items: Tensor) -> tuple[Tensor, Tensor, Any]:
    """Loss, gradient and logged figures by TRL."""
    log_probs = data["log_probs"].clone().requires_grad_()
    metrics: Any = {"train": defaultdict(list)}
    trainer = SimpleNamespace(
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False,
        importance_sampling_level="token", beta=case.beta, loss_type=case.loss_type, epsilon_low=case.low,
        epsilon_high=case.high, max_completion_length=MAX_LENGTH, _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=case.accumulation, model=SimpleNamespace(training=True),
        args=SimpleNamespace(
            use_bias_correction_kl=case.corrected, delta=None, steps_per_generation=case.steps_per_generation
        ),
        accelerator=SimpleNamespace(
            num_processes=case.processes, gather=lambda value: value, reduce=lambda value, **_: value
        ),
        _metrics=metrics,
        _get_per_token_logps_and_entropies=lambda *_, **__: (log_probs, torch.zeros_like(log_probs), None),
    )  # fmt: skip
    rows = len(log_probs)
    given = {
        "prompt_ids": torch.zeros(rows, 1), "prompt_mask": torch.ones(rows, 1, dtype=torch.int),
        "completion_ids": torch.zeros(log_probs.shape), "completion_mask": data["mask"].int(),
        "advantages": data["advantages"], "num_items_in_batch": items,
        "ref_per_token_logps": data["reference"] if case.beta else None,
    }  # fmt: skip
    loss = trl_loss(trainer, None, {**given, "old_per_token_logps": data["old"] if case.with_old else None})
    loss.backward()
    assert log_probs.grad is not None
    return loss.detach(), log_probs.grad, metrics["train"]


def _token_losses(case: _Case, data: dict[str, Tensor], log_probs: Tensor) -> tuple[Tensor, Tensor | None]:
    old = data["old"] if case.with_old else log_probs.detach()
    penalty = Penalty(case.beta, data["reference"], corrected=case.corrected) if case.beta else None
    return token_losses(log_probs, old, data["advantages"], case.low, case.high, penalty)


def _ours(case: _Case, data: dict[str, Tensor], items: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and gradient."""
    log_probs = data["log_probs"].clone().requires_grad_()
    losses, _ = _token_losses(case, data, log_probs)
    loss = reduced(
        losses, data["mask"], case.loss_type, accumulation=case.accumulation, items=items,
        processes=case.processes, steps_per_generation=case.steps_per_generation, max_length=MAX_LENGTH,
    )  # fmt: skip
    loss.backward()
    assert log_probs.grad is not None
    return loss.detach(), log_probs.grad


@TYPES
@pytest.mark.parametrize(("beta", "corrected"), [(0.0, False), (0.04, False), (0.04, True)])
@pytest.mark.parametrize("high", [0.2, 0.28])
@pytest.mark.parametrize("with_old", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_trl(
    trl_loss: Any, loss_type: str, beta: float, corrected: bool, high: float, with_old: bool, seed: int
) -> None:
    case = _Case(loss_type, beta=beta, corrected=corrected, high=high, with_old=with_old)
    data = _inputs(seed)
    items = data["mask"].sum()
    loss, gradient, _ = _theirs(trl_loss, case, data, items)
    own_loss, own_gradient = _ours(case, data, items)
    assert torch.equal(own_loss, loss)
    assert torch.equal(own_gradient, gradient)
    assert gradient.abs().max() > 0


@TYPES
@pytest.mark.parametrize(("accumulation", "steps"), [(1, 1), (3, 3), (3, 6), (1, 3), (2, 3)])
@pytest.mark.parametrize("processes", [1, 2])
def test_equal_to_trl_with_accumulation(
    trl_loss: Any, loss_type: str, accumulation: int, steps: int, processes: int
) -> None:
    case = _Case(
        loss_type, accumulation=accumulation, steps_per_generation=steps, processes=processes, corrected=True
    )
    batches = [_inputs(seed) for seed in range(accumulation)]
    items = torch.tensor(processes * 97)
    theirs, ours = (
        [_theirs(trl_loss, case, b, items) for b in batches],
        [_ours(case, b, items) for b in batches],
    )
    for part in (0, 1):
        total = torch.stack([result[part] for result in ours]).sum(0)
        assert torch.equal(total, torch.stack([result[part] for result in theirs]).sum(0))


@TYPES
def test_a_batch_without_any_token(trl_loss: Any, loss_type: str) -> None:
    data = _inputs()
    data["mask"] = torch.zeros_like(data["mask"])
    items = torch.tensor(0)
    case = _Case(loss_type)
    assert [value.abs().max() for value in _ours(case, data, items)] == [0.0, 0.0]
    assert torch.equal(_ours(case, data, items)[0], _theirs(trl_loss, case, data, items)[0])


@TYPES
def test_a_truncated_completion_has_no_gradient(loss_type: str) -> None:
    data = _inputs()
    gradient = _ours(_Case(loss_type), data, data["mask"].sum())[1]
    assert torch.equal(gradient != 0, (gradient != 0) & data["mask"])
    assert not gradient[3].any()


@pytest.mark.parametrize("corrected", [False, True])
def test_logged_figures_are_those_of_trl(trl_loss: Any, corrected: bool) -> None:
    data = _inputs()
    case = _Case("bnpo", low=0.1, high=0.3, corrected=corrected)
    metrics = _theirs(trl_loss, case, data, data["mask"].sum())[2]
    low, high = clipped(data["log_probs"], data["old"], data["advantages"], 0.1, 0.3)
    kl = _token_losses(case, data, data["log_probs"])[1]
    assert kl is not None
    names = {"clip_ratio/low_mean": low, "clip_ratio/high_mean": high, "clip_ratio/region_mean": low | high}
    for name, values in {**names, "kl": kl}.items():
        mean = (values * data["mask"]).sum() / data["mask"].sum()
        assert mean.item() == metrics[name][0]
        assert mean > 0


def _surrogate(*arguments: Any) -> Tensor:
    return token_losses(*arguments)[0]


def test_latents_may_have_bounds_of_their_own() -> None:
    data = _inputs()
    latent = torch.rand(data["mask"].shape, generator=torch.Generator().manual_seed(9)) < 0.5
    low, high = torch.where(latent, 0.01, 0.2), torch.where(latent, 0.02, 0.3)
    given = (data["log_probs"], data["old"], data["advantages"])
    for function in (_surrogate, lambda *a: clipped(*a)[0].float(), lambda *a: clipped(*a)[1].float()):
        mixed, text, tight = (
            function(*given, low, high),
            function(*given, 0.2, 0.3),
            function(*given, 0.01, 0.02),
        )
        assert torch.allclose(mixed, torch.where(latent, tight, text), rtol=1e-6)
        assert not torch.equal(mixed, text)
    assert torch.allclose(_surrogate(*given, 0.2, high), _surrogate(*given, torch.full_like(low, 0.2), high))


def test_a_divergence_in_closed_form() -> None:
    data = _inputs()
    log_probs = data["log_probs"].requires_grad_()
    latent = torch.zeros_like(data["mask"])
    latent[:, 2:4] = True
    # Densities of wide latents differ by hundreds of nats; the estimate of their divergence overflows.
    reference = torch.where(latent, log_probs.detach() + 500, data["reference"])
    exact = torch.full_like(reference, 0.7).requires_grad_()
    given = (log_probs, data["old"], data["advantages"], 0.2, 0.2)
    losses, kl = token_losses(
        *given, Penalty(0.5, reference, corrected=True, exact_at_BT=latent, exact_BT=exact)
    )
    plain, plain_kl = token_losses(*given, Penalty(0.5, data["reference"], corrected=True))
    assert kl is not None
    assert plain_kl is not None
    assert torch.equal(kl, torch.where(latent, 0.7, plain_kl))
    assert torch.equal(losses[~latent], plain[~latent])
    assert torch.equal(losses[latent], (_surrogate(*given) + 0.5 * 0.7)[latent])
    losses.sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad.isfinite().all()
    assert exact.grad is not None
    assert torch.equal(exact.grad, 0.5 * latent)


def test_the_logged_divergence_has_no_gradient() -> None:
    data = _inputs()
    kl = _token_losses(_Case("grpo"), data, data["log_probs"].requires_grad_())[1]
    assert kl is not None
    assert not kl.requires_grad


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory, on_two_ranks: Callable[..., None]) -> Path:
    """The folder in which two processes left their gradients."""
    folder = tmp_path_factory.mktemp("ranks")
    data = {
        name: value.double() if value.is_floating_point() else value for name, value in _inputs(5).items()
    }
    data["features"] = torch.randn(
        *data["mask"].shape, 3, generator=torch.Generator().manual_seed(6)
    ).double()
    save_file(data, folder / "inputs.safetensors")
    on_two_ranks(Path(__file__).parent / "losses_on_ranks.py", folder)
    return folder


@TYPES
def test_two_processes_do_what_trl_does_on_one(trl_loss: Any, ranks: Path, loss_type: str) -> None:
    """One process sees the halves one after another, with accumulation 2."""
    whole = load_file(ranks / "inputs.safetensors")
    case = _Case(loss_type, high=0.3, corrected=True, accumulation=2, steps_per_generation=2)
    halves = [{name: value.chunk(2)[i] for name, value in whole.items()} for i in (0, 1)]
    parts = [_theirs(trl_loss, case, half, whole["mask"].sum())[1] for half in halves]
    expected = torch.einsum("bt,btk->k", torch.cat(parts), whole["features"])
    for rank in (0, 1):
        found = load_file(ranks / f"gradient-{rank}.safetensors")[loss_type]
        assert torch.allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_two_processes_do_what_trl_does_with_one_batch(trl_loss: Any, ranks: Path, loss_type: str) -> None:
    """Not so `bnpo`, whose mean is over the tokens of a micro-batch, wherever it is cut."""
    whole = load_file(ranks / "inputs.safetensors")
    case = _Case(loss_type, high=0.3, corrected=True)
    gradient = _theirs(trl_loss, case, whole, whole["mask"].sum())[1]
    found = load_file(ranks / "gradient-0.safetensors")[loss_type]
    assert torch.allclose(found, torch.einsum("bt,btk->k", gradient, whole["features"]), rtol=1e-12)
