"""The model that lmms-eval 0.7 runs as `--model latentvr --model_args pretrained=CKPT`.

Further arguments are settings of the recipe, such as `max_pixels=802816` or `decode.latent_steps=4`. Pictures
are resized as the checkpoint's own settings say; lmms-eval's wrapper of Qwen2.5-VL, for a comparison with
its figures, takes min_pixels=200704 and max_pixels=1605632.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from latentvr.errors import RecipeError, UserError
from latentvr.integrations.chat import Question, parts_of, question
from latentvr.integrations.harness_generation import settings_of_task
from latentvr.integrations.harness_settings import open_harness

try:
    from lmms_eval.api.instance import GenerationResult, TokenCounts  # type: ignore[import-not-found]
    from lmms_eval.api.model import lmms  # type: ignore[import-not-found]
    from lmms_eval.utils import simple_parse_args_string  # type: ignore[import-not-found]
except ImportError as error:
    raise UserError(
        f"expected lmms-eval, got no module {error.name!r}, at latentvr.integrations.lmms_eval_model; "
        "fix: pip install 'latentvr[lmms_eval]'"
    ) from error

_WHERE = "--model_args"


class LatentVR(lmms):  # type: ignore[misc]
    """A checkpoint of this library, a plain model, or a published checkpoint, under lmms-eval.

    Args:
        pretrained: run folder, checkpoint, model folder or hub id.
        batch_size: questions per forward pass.
        device: "auto", "cpu", "cuda" or "cuda:N".
        **options: settings of the recipe, see `open_harness`.

    Raises:
        UserError: an argument or the checkpoint is wrong.
    """

    is_simple = False

    def __init__(
        self, pretrained: str = "", batch_size: int | str = 1, device: str | None = None, **options: Any
    ) -> None:
        super().__init__()
        # Only a search for the largest batch would use it.
        options.pop("max_batch_size", None)
        placed = {} if device is None else {"device": device}
        self._harness = open_harness(str(pretrained), {**options, "batch_size": batch_size, **placed}, _WHERE)

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> LatentVR:
        """Make the model from `key=value,key=value`; what stands there beats lmms-eval's own options.

        Args:
            arg_string: the text of `--model_args`.
            additional_config: `--batch_size`, `--max_batch_size` and `--device`.

        Returns:
            The model.

        Raises:
            UserError: the text or an argument is wrong.
        """
        try:
            given = simple_parse_args_string(arg_string)
        except ValueError:
            raise RecipeError(
                f"expected key=value,key=value, got {arg_string!r}, at {_WHERE}; fix: write pretrained=CKPT"
            ) from None
        own = {key: value for key, value in (additional_config or {}).items() if value is not None}
        return cls(**{**own, **given})

    @property
    def device(self) -> torch.device:
        """Where the model is; lmms-eval gathers its counts there."""
        return self._harness.answerer.model.backbone.device

    def generate_until(self, requests: list[Any]) -> list[Any]:
        """Answer requests, those with equal settings of generation together.

        Args:
            requests: of lmms-eval, each with context, messages, settings, document, task and split.

        Returns:
            A `GenerationResult` for each, in order.

        Raises:
            UserError: a request has what one turn of text and images cannot hold, or wrong settings.
        """
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            asked = json.dumps([request.args[4], request.args[2]], sort_keys=True, default=str)
            groups.setdefault(asked, []).append(place)
        found: dict[int, Any] = {}
        with tqdm(total=len(requests), disable=self.rank != 0, desc="Answering") as bar:
            for places in groups.values():
                for place, made in zip(places, self._group([requests[i] for i in places]), strict=True):
                    found[place] = made
                    bar.update()
        return [found[i] for i in range(len(requests))]

    def _group(self, requests: Sequence[Any]) -> Iterator[Any]:
        """Answer requests of one task with equal settings."""
        asked, task = requests[0].args[2], requests[0].args[4]
        decode, stops = settings_of_task(self._harness, asked, f"task {task}")
        answers = self._harness.answerer.answers(map(self._question, requests), decode, stops)
        for request, made in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("generate_until", (request.args[0], asked), made.text)
            yield GenerationResult(text=made.text, token_counts=TokenCounts(output_tokens=made.tokens))

    def _question(self, request: Any) -> Question:
        _, messages, _, document, task, split = request.args
        where = f"task {task}, split {split}, document {document}"
        return question(parts_of(messages(self.task_dict[task][split][document]), where), where)

    def loglikelihood(self, requests: list[Any]) -> list[Any]:
        """Refuse tasks that compare likelihoods of given answers."""
        raise _not_done("one that compares likelihoods", requests)

    def generate_until_multi_round(self, requests: list[Any]) -> list[Any]:
        """Refuse tasks of several rounds."""
        raise _not_done("one of several rounds", requests)

    def clean(self) -> None:
        """Let go of the model; lmms-eval calls this before it loads a judge."""
        del self._harness
        super().clean()


def _not_done(kind: str, requests: Sequence[Any]) -> RecipeError:
    task = requests[0].task_name if requests else "unknown"
    return RecipeError(
        f"expected a task that generates one answer, got {kind}, at task {task}; fix: leave it out of --tasks"
    )
