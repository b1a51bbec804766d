"""The example method: `<|glimpse_start|> <|glimpse|> <|glimpse_end|>` after the prompt."""

from torch import Tensor, nn

from latentvr.attention.roles import Role
from latentvr.data.layout import Layout, NewToken, Segment, plain_layout
from latentvr.reasoners.base import LatentReasoner, Term, sample_numbers


class Reasoner(LatentReasoner):
    def tokens(self) -> list[NewToken]:
        start, end = (NewToken(f"<|glimpse_{side}|>", role=None) for side in ("start", "end"))
        return [start, NewToken("<|glimpse|>"), end]

    def modules(self, hidden_size: int) -> dict[str, nn.Module]:
        self.project = nn.Linear(hidden_size, hidden_size)
        return {"project": self.project}

    def layout(self, record) -> Layout:
        plain = plain_layout(record)
        return Layout((*plain.user, Segment("tokens", "".join(t.text for t in self.tokens()))), plain.answer)

    def slot_inputs(self, batch, features_FND, stage) -> Tensor:  # noqa: ARG002 - the base's signature
        return self.project(self._seen(batch, features_FND).to(self.project.weight.dtype))

    def losses(self, hidden_BSD, batch, features_FND, stage) -> dict[str, Term]:  # noqa: ARG002 - the same
        before = hidden_BSD[:, :-1][(batch["roles"] == Role.LATENT)[:, 1:]]
        distance = (before - self._seen(batch, features_FND)).square().mean(-1).sum()
        return {"glimpse_distance": Term(distance, self.config.weight)}

    def loss_counts(self, batch) -> dict[str, Tensor]:
        return {"glimpse_distance": (batch["roles"] == Role.LATENT).sum()}

    def _seen(self, batch, features_FND) -> Tensor:
        samples, roles = sample_numbers(batch), batch["roles"]
        own = samples[roles == Role.LATENT].unsqueeze(1) == samples[roles == Role.IMAGE]
        return own.to(features_FND) @ features_FND[0] / own.sum(1, keepdim=True)
