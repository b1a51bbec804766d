"""LIVR: learned latent tokens after the prompt, first trained under a visual bottleneck (arXiv 2512.21218).

Section 3 of the paper: K new tokens with a row each are appended to the prompt. In stage 1 question and
answer cannot see the image, so that all visual information has to pass through the latents; in stage 2
attention is plainly causal. The loss is the likelihood of the answer alone, in both stages.
"""

from __future__ import annotations

from typing import cast

from latentvr.attention.roles import Role
from latentvr.data.layout import Layout, NewToken, Segment, plain_layout
from latentvr.data.record import Record
from latentvr.reasoners.base import LatentReasoner
from latentvr.reasoners.livr.config import Config


class Reasoner(LatentReasoner):
    """K latent tokens that belong to the prompt and are never generated."""

    @property
    def options(self) -> Config:
        """The method's section of the recipe."""
        return cast(Config, self.config)

    def tokens(self) -> list[NewToken]:
        """K tokens with a row each (section 3.1), or one token that is used K times (table 6)."""
        if self.options.image_twice:
            return []
        count = min(1, self.options.latents) if self.options.shared else self.options.latents
        return [NewToken(f"<|latent_{i}|>", self.options.init_std) for i in range(count)]

    def layout(self, record: Record) -> Layout:
        """Put the latents after the prompt, at the end of the user's turn, or before it (table 5)."""
        user = plain_layout(record).user
        if self.options.image_twice:
            copies = tuple(Segment("image", image=i, role=Role.LATENT) for i in range(len(record.images)))
            return Layout((*user, *copies), plain_layout(record).answer)
        if not self.options.latents:
            return plain_layout(record)
        texts = [token.text for token in self.tokens()]
        latents = Segment("tokens", "".join(texts * (self.options.latents // len(texts))))
        if self.options.place == "after":
            return Layout((*user, latents), plain_layout(record).answer)
        last_image = max((i for i, part in enumerate(user) if part.kind == "image"), default=-1)
        user = (*user[: last_image + 1], latents, *user[last_image + 1 :])
        return Layout(user, plain_layout(record).answer)
