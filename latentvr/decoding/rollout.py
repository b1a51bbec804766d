"""What was written for one prompt, and what was fed while writing it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Rollout:
    """One completion of one prompt.

    Attributes:
        ids: token ids (T,), the end of turn included; latent slots hold the slot token.
        slot: whether a hidden state was fed at each place, instead of the token's embedding.
        sampled: whether the model chose the token: neither a slot nor a marker that was written for it.
        log_probs: natural log-probability of each chosen token, after temperature and suppressed tokens and
            before top-k and the like; 0 where nothing was chosen.
        fed: what was fed at the slots, in order (slots, D).
        spans: the latents among it (n, D), for each latent span that was opened; an end vector is no latent.
        prompt_latents: hidden states at latent positions of the prompt (K, D), after the final norm.
        finish: `end` of turn, a `stop` string, or the `length` limit.
    """

    ids: list[int]
    slot: list[bool]
    sampled: list[bool]
    log_probs: list[float]
    fed: Tensor
    spans: list[Tensor]
    prompt_latents: Tensor
    finish: Literal["end", "stop", "length"]

    @property
    def text_ids(self) -> list[int]:
        """The ids without slots and without the end of turn."""
        last = len(self.ids) - (self.finish == "end")
        return [i for i, slot in zip(self.ids[:last], self.slot, strict=False) if not slot]

    def cpu(self) -> Rollout:
        """The same with its tensors on the CPU."""
        return replace(
            self,
            fed=self.fed.cpu(),
            spans=[span.cpu() for span in self.spans],
            prompt_latents=self.prompt_latents.cpu(),
        )
