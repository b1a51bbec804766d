"""Which role sees which: a small value from which the masks of every kernel derive."""

from __future__ import annotations

from dataclasses import dataclass

from latentvr.attention.roles import Role
from latentvr.errors import VisibilityError

Pair = tuple[Role, Role]


@dataclass(frozen=True)
class Visibility:
    """Blocked (query role, key role) pairs, on top of causality and document boundaries.

    A token always sees itself. `PAD` is seen by nothing and need not be listed.

    Attributes:
        name: how recipes and logs call it.
        blocked: the pairs; (ANSWER, IMAGE) says that answer tokens cannot see image tokens.
    """

    name: str
    blocked: frozenset[Pair]

    def sees(self, query: Role, key: Role) -> bool:
        """Tell whether a `query` token may see an earlier `key` token of its own document."""
        return key is not Role.PAD and query is not Role.PAD and (query, key) not in self.blocked


CAUSAL = Visibility("causal", frozenset())
BOTTLENECK = Visibility("bottleneck", frozenset({(Role.PROMPT, Role.IMAGE), (Role.ANSWER, Role.IMAGE)}))
ANSWER_ONLY = Visibility("answer_only", frozenset({(Role.ANSWER, Role.IMAGE)}))
BOTTLENECK_BLIND_LATENTS = Visibility(
    "bottleneck_blind_latents", BOTTLENECK.blocked | {(Role.LATENT, Role.PROMPT)}
)
PRESETS: dict[str, Visibility] = {
    v.name: v for v in (CAUSAL, BOTTLENECK, ANSWER_ONLY, BOTTLENECK_BLIND_LATENTS)
}


def preset(name: str) -> Visibility:
    """Return the preset called `name`.

    Args:
        name: a key of `PRESETS`.

    Returns:
        Its value in `PRESETS`.

    Raises:
        VisibilityError: there is no such preset.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise VisibilityError(
            f"expected a visibility of {', '.join(PRESETS)}, got {name!r}; fix: use one of these names"
        ) from None
