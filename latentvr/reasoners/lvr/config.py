"""Options of LVR (arXiv 2509.24251)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from latentvr.config.schema import DecodeConfig, ReasonerConfig, StageConfig


@dataclass
class Config(ReasonerConfig):
    """Hidden states fed back between two markers, pulled towards a region's visual tokens."""

    opens_spans: ClassVar[bool] = True

    name: str = "lvr"
    """Method name."""
    layout: Literal["A", "B"] = "B"
    """`B`: start marker, slots, end marker, as in the paper; `A` has `<|lvr_latent_end|>` before the end
    marker, as the authors' released checkpoints were trained."""
    target: Literal["roi", "crop"] = "roi"
    """What the slots stand for: the region's visual tokens, or those of the region encoded alone."""
    pool: int | None = None
    """Slots per region, each the mean of neighbouring tokens; null gives one slot to each token."""
    hide_region: bool = False
    """Paint the regions over in the prompt's image; the targets come from the image as it was."""
    loss: Literal["mse", "mae", "cosine"] = "mse"
    """Distance between predicted and true latents; `cosine` is 1 minus the mean cosine."""
    weight: float = 0.1
    """Weight of that distance beside the cross-entropy (lambda in the paper)."""
    head: Literal["none", "mlp", "glu", "pca"] = "none"
    """Map from hidden states to latents: none (the paper's best), LayerNorm and two layers, a gated layer, or
    coordinates in a PCA basis of visual embeddings."""
    head_width: int | None = None
    """Inner width of the gated head; null means three times the model's width."""
    pca_basis: str | None = None
    """File of the basis for `head: pca`, made by `latentvr data basis`; checkpoints hold a copy."""
    pca_components: int = 64
    """Number of components in that file."""
    end_vector: bool = False
    """Learn a vector that marks the end of the slots, fed at `<|lvr_latent_end|>` (needs layout A)."""
    end_weight: float = 0.1
    """Weight of the distance to the end vector."""
    switch_loss: bool = False
    """Train the logit of the end marker at every slot: whether it is the next token (needs layout B)."""
    switch_weight: float = 0.1
    """Weight of that loss."""
    slot_inputs: Literal["teacher", "own", "mixed"] = "teacher"
    """What is fed at the slots in training: the true tokens, the model's own predictions, or, sample by
    sample, one of the two by a share that grows from `own_first` to `own_last` during the stage. Not in the
    paper."""
    own_first: float = 0.0
    """Share of samples with their own predictions at the start of a stage, for `slot_inputs: mixed`."""
    own_last: float = 1.0
    """The share at the end of a stage."""
    noise: float | None = None
    """Standard deviation at which a learned residual noise of the latents begins (arXiv 2608.19669): latents
    are drawn around a learned mean in reinforcement, and are that mean elsewhere; null has none. The paper
    begins at 0.05."""
    wrap_answer: bool = True
    """Write the answer of records without a full response as `<answer> ... </answer>` on its own line."""
    boxless: Literal["refuse", "plain"] = "refuse"
    """Training records without regions stop the run, or are answered without latents."""

    @property
    def learns_noise(self) -> bool:
        """Whether the latents have a learned noise."""
        return self.noise is not None

    @property
    def feeds_own_latents(self) -> str | None:
        """The field that says so."""
        some = {"teacher": False, "own": True, "mixed": max(self.own_first, self.own_last) > 0}
        return "slot_inputs" if some[self.slot_inputs] else None

    def problems(self) -> list[str]:
        """Return what is wrong with the options, each as `field: sentence`."""
        found = []
        if self.noise is not None and not 0 < self.noise < float("inf"):
            found.append(f"noise: expected more than 0, got {self.noise}; fix: write a number in this range")
        for name in ("weight", "end_weight", "switch_weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                found.append(f"{name}: expected at least 0, got {value}; fix: write a number in this range")
        for name in ("own_first", "own_last"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                found.append(
                    f"{name}: expected at least 0 and at most 1, got {value}; "
                    "fix: write a number in this range"
                )
        for name in ("pool", "head_width", "pca_components"):
            value = getattr(self, name)
            if value is not None and value < 1:
                found.append(f"{name}: expected at least 1, got {value}; fix: write a number in this range")
        return found + self._contradictions()

    def decode_problems(self, decode: DecodeConfig) -> list[str]:
        """Return exits that a model with these options cannot take."""
        if decode.exit == "end_vector" and not self.end_vector:
            return [
                "exit: expected reasoner.end_vector=true with end_vector, got false; "
                "fix: set decode.exit=steps, or train with an end vector"
            ]
        if decode.exit == "switch_token" and self.end_vector:
            return [
                "exit: expected steps or end_vector with reasoner.end_vector=true, got switch_token, whose "
                "token is never written then; fix: set decode.exit=end_vector"
            ]
        return []

    def _contradictions(self) -> list[str]:
        found = []
        if self.end_vector and self.layout != "A":
            found.append("end_vector: expected layout A with it, got B; fix: set reasoner.layout=A")
        if self.switch_loss and self.layout != "B":
            found.append(
                "switch_loss: expected layout B with it, got A, where no slot is followed by the end marker; "
                "fix: set reasoner.layout=B"
            )
        if (self.head == "pca") != (self.pca_basis is not None):
            got = "none" if self.pca_basis is None else f"one with head={self.head}"
            found.append(
                f"pca_basis: expected a basis file exactly with head=pca, got {got}; "
                "fix: make one with latentvr data basis, or leave the key out"
            )
        return found


def default_stages() -> dict[str, StageConfig]:
    """One causal stage of 2500 optimiser steps, as the paper trains."""
    return {"sft": StageConfig(steps=2500, visibility="causal")}
