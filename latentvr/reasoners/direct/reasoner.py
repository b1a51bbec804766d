"""Direct SFT: the control without latents. Every hook keeps its default."""

from __future__ import annotations

from latentvr.reasoners.base import LatentReasoner


class Reasoner(LatentReasoner):
    """Plain supervised fine-tuning on the answer."""
