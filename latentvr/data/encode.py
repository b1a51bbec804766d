"""From a record to ids, roles, labels, positions and patches.

Shape letters: S sequence, N visual tokens, P patches, F feature levels, D width, R references of slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from PIL import Image
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.data.answer_tokens import answer_tokens
from latentvr.data.layout import Layout, NewToken, Segment
from latentvr.data.processor import IMAGE_TOKEN, Processor
from latentvr.data.record import Record
from latentvr.data.slots import expanded_slots, place_slots, regions_of
from latentvr.data.tower_pictures import placed_pictures
from latentvr.errors import RecordError

IGNORED = -100
Positions = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass
class EncodedSample:
    """One sample, without padding.

    Attributes:
        id: the record's id.
        ids: token ids (S,).
        roles: `Role` values, int8 (S,).
        labels: the ids that the loss wants, `IGNORED` elsewhere (S,).
        positions: rotary positions (3, S).
        prompt_length: number of tokens before the answer.
        pixel_values: patches (P, values), or None once features are cached.
        grid: patches per image, (images, 3).
        features: cached features (F, N, D), or None.
        visual_tokens: number of visual tokens in the prompt.
        slots: slot number and visual token number of each reference (R, 2); visual tokens of the references
            count on from those of the prompt.
        reference_values: patches of pictures that are targets and stand in no prompt, or None.
        reference_grid: patches per such picture, (references, 3).
        reference_features: their cached features (F, N, D), or None.
        reference_tokens: their number of visual tokens.
    """

    id: str
    ids: Tensor
    roles: Tensor
    labels: Tensor
    positions: Tensor
    prompt_length: int
    pixel_values: Tensor | None
    grid: Tensor
    features: Tensor | None = None
    visual_tokens: int = 0
    slots: Tensor = field(default_factory=lambda: torch.zeros(0, 2, dtype=torch.long))
    reference_values: Tensor | None = None
    reference_grid: Tensor = field(default_factory=lambda: torch.zeros(0, 3, dtype=torch.long))
    reference_features: Tensor | None = None
    reference_tokens: int = 0


class Encoder:
    """Applies the chat template to a layout and gives every token its role.

    Args:
        processor: tokenizer and image processor; the new tokens are in its vocabulary already.
        layout: where a record's text, images and new tokens go.
        new_tokens: the method's tokens, with the role of each.
        positions: rotary positions of ids (1, S), an image mask (1, S) and grids.
        max_length: longest sample in tokens.
    """

    def __init__(
        self,
        processor: Processor,
        layout: Callable[[Record], Layout],
        new_tokens: Sequence[NewToken],
        positions: Positions,
        max_length: int = 8192,
    ) -> None:
        self.processor = processor
        self.layout = layout
        self.positions = positions
        self.max_length = max_length
        tokenizer = processor.tokenizer
        self._roles = {
            int(tokenizer.convert_tokens_to_ids(token.text)): token.role
            for token in new_tokens
            if token.role is not None
        }
        self._written = [
            int(tokenizer.convert_tokens_to_ids(token.text)) for token in new_tokens if token.sampled
        ]
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._control = sorted(special | {token.text for token in new_tokens}, key=len, reverse=True)

    def encode(
        self,
        record: Record,
        images: Sequence[Image.Image] | None,
        with_answer: bool = True,
        where: str = "",
        grid: Tensor | None = None,
        reference_grid: Tensor | None = None,
    ) -> EncodedSample:
        """Encode one record.

        Args:
            record: the record.
            images: its images in RGB, in prompt order; None where both grids are given.
            with_answer: False stops after the assistant's header, for generation.
            where: how error messages call the record's place; its id by default.
            grid: patches per image of the prompt (images, 3), where their features are at hand: they are not
                cut into patches then.
            reference_grid: the same of pictures that are targets and stand in no prompt.

        Returns:
            The sample, without padding.

        Raises:
            RecordError: the text holds control tokens, the images do not fit, or the sample is too long.
        """
        where = where or f"record {record.id!r}"
        layout = self.require(record, where, with_answer)
        placed = [segment for segment in layout.user if segment.kind == "image"]
        if images is None:
            images = ()
        elif len(images) != len(record.images):
            raise RecordError(
                f"expected {len(record.images)} images, got {len(images)}, at {where}; fix: give every image"
            )
        pixel_values = None
        if grid is None:
            pixel_values, grid = self._patches(images, placed)
        answered = layout.answer if with_answer else ()
        slots = place_slots(
            (*layout.user, *answered), images, placed, grid, self.processor, where, reference_grid
        )
        user, answered = expanded_slots(layout.user, answered, slots)
        prompt, answer = self._render(user, answered)
        prompt_ids = self._tokenize(self._expand(prompt, grid))
        answer_ids = self._tokenize(answer) if with_answer else []
        ids = torch.tensor(prompt_ids + answer_ids, dtype=torch.long)
        self._require_room(len(ids), where)
        roles = self._assign_roles(ids, len(prompt_ids), placed, grid)
        labels = torch.where(roles == Role.ANSWER, ids, IGNORED)
        for token_id in self._written:
            own = torch.eq(ids, token_id)
            own[: len(prompt_ids)] = False
            labels[own] = token_id
        image_mask = torch.eq(ids, self.processor.image_token_id)
        positions = self.positions(ids[None], image_mask[None], grid if len(grid) else None)[:, 0]
        return EncodedSample(
            record.id, ids, roles, labels, positions, len(prompt_ids), pixel_values, grid,
            visual_tokens=self._visual_tokens(grid), slots=slots.pairs, reference_values=slots.pixel_values,
            reference_grid=slots.grid, reference_tokens=self._visual_tokens(slots.grid),
        )  # fmt: skip

    def ending(self, record: Record) -> tuple[Tensor, Tensor]:
        """How a turn with the right answer ends: what stands after its last latent span.

        Args:
            record: the record; a turn without spans is taken whole.

        Returns:
            Token ids (T,), the end of turn included, and which of them write the answer (T,): all where the
            response does not hold the answer word for word.
        """
        layout = self.layout(record)
        after = max((i + 1 for i, part in enumerate(layout.answer) if part.kind != "text"), default=0)
        _, text = self._render(layout.user, layout.answer[after:])
        ids = self._tokenize(text)
        first, last = answer_tokens(text, record.answer, ids, self._tokenize)
        own = torch.zeros(len(ids), dtype=torch.bool)
        own[first:last] = True
        return torch.tensor(ids, dtype=torch.long), own

    def _require_room(self, length: int, where: str) -> None:
        if length > self.max_length:
            raise RecordError(
                f"expected at most {self.max_length} tokens, got {length}, at {where}; "
                "fix: raise data.max_length or lower model.max_pixels"
            )

    def _visual_tokens(self, grid: Tensor) -> int:
        return sum(self.processor.visual_tokens(row) for row in grid)

    def require(self, record: Record, where: str, with_answer: bool = True) -> Layout:
        """Refuse a record for what can be told without its images.

        Args:
            record: the record.
            where: how error messages call its place.
            with_answer: whether the answer is wanted too.

        Returns:
            Its layout.

        Raises:
            RecordError: the text holds control tokens, or slots have no regions.
        """
        layout = self.layout(record)
        self._refuse_control_tokens(layout.user, where)
        self._refuse_control_tokens(layout.answer, where)
        regions_of((*layout.user, *(layout.answer if with_answer else ())), where)
        return layout

    def _patches(
        self, images: Sequence[Image.Image], placed: Sequence[Segment]
    ) -> tuple[Tensor | None, Tensor]:
        """Cut the images into patches in the order of the layout, which may use an image twice."""
        if not placed:
            return None, torch.zeros(0, 3, dtype=torch.long)
        return self.processor.encode_images(placed_pictures(images, placed))

    def _refuse_control_tokens(self, segments: Sequence[Segment], where: str) -> None:
        """Data must not be able to write control tokens: they would forge turns, images or latents."""
        # Texts side by side are joined first: a token must not hide in the cut between them.
        for is_text, group in groupby(segments, lambda segment: segment.kind == "text"):
            text = "".join(segment.text for segment in group) if is_text else ""
            found = next((token for token in self._control if token in text), None)
            if found:
                raise RecordError(
                    f"expected plain text, got the control token {found!r}, at {where}; "
                    "fix: take it out of the text"
                )

    def _render(self, user: Sequence[Segment], answer: Sequence[Segment]) -> tuple[str, str]:
        """Apply the chat template: the prompt up to the assistant's header, and the answer with its end."""
        content = [
            {"type": "image"} if segment.kind == "image" else {"type": "text", "text": segment.text}
            for segment in user
        ]
        messages = [{"role": "user", "content": content}]
        template = self.processor.tokenizer.apply_chat_template
        prompt: str = template(messages, tokenize=False, add_generation_prompt=True)
        text = "".join(segment.text for segment in answer)
        reply = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        whole: str = template([*messages, reply], tokenize=False)
        if not whole.startswith(prompt):
            raise RecordError(
                "expected a chat template whose prompt is a prefix of the whole conversation, got another; "
                "fix: use a template that does not change earlier turns"
            )
        return prompt, whole[len(prompt) :].rstrip()

    def _expand(self, prompt: str, grid: Tensor) -> str:
        """Write each image's placeholder as often as the image has visual tokens."""
        parts = prompt.split(IMAGE_TOKEN)
        counts = [self.processor.visual_tokens(row) for row in grid]
        runs = [IMAGE_TOKEN * count for count in counts]
        return "".join(a + b for a, b in zip(parts, [*runs, ""], strict=True))

    def _tokenize(self, text: str) -> list[int]:
        """Tokenize rendered text; control tokens are the template's own."""
        ids: list[int] = self.processor.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _assign_roles(
        self, ids: Tensor, prompt_length: int, placed: Sequence[Segment], grid: Tensor
    ) -> Tensor:
        """Give each token its role: by its side of the answer's start, by image, by new token."""
        roles = torch.full_like(ids, int(Role.ANSWER), dtype=torch.int8)
        roles[:prompt_length] = int(Role.PROMPT)
        for token_id, role in self._roles.items():
            roles[ids == token_id] = int(role)
        image_roles = [
            torch.full((self.processor.visual_tokens(row),), int(segment.role), dtype=torch.int8)
            for row, segment in zip(grid, placed, strict=True)
        ]
        if image_roles:
            roles[ids == self.processor.image_token_id] = torch.cat(image_roles)
        return roles
