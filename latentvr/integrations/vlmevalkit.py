"""VLMEvalKit with a checkpoint of this library.

VLMEvalKit has no plug-ins and its `run.py` is in no package: this module makes the model class, registers it,
and runs data sets: `python -m latentvr.integrations.vlmevalkit --model CKPT --data BLINK --work-dir DIR`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentvr.errors import LatentVRError, RecipeError, UserError

if TYPE_CHECKING:
    from latentvr.integrations.answering import Reply

NAME = "LatentVR"
_PLACE = "latentvr.integrations.vlmevalkit"


def _part(name: str) -> Any:
    """A module of VLMEvalKit, imported when it is needed: all of it takes many seconds."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"expected VLMEvalKit, got no module {error.name!r}, at {_PLACE}; "
            "fix: install https://github.com/open-compass/VLMEvalKit from its source"
        ) from error


@cache
def model_class() -> type[Any]:
    """Make the model class for VLMEvalKit.

    Returns:
        A subclass of `vlmeval.vlm.base.BaseModel`: `model_path` and settings of the recipe make it, see
        `open_harness`; `generate(message, dataset)` answers. Images reach the model one by one, in their
        places: of a class that does not say so, VLMEvalKit puts BLINK's into one small picture.

    Raises:
        UserError: VLMEvalKit is not installed.
    """
    from latentvr.integrations.chat import question
    from latentvr.integrations.harness_generation import settings_of_task
    from latentvr.integrations.harness_settings import open_harness

    base = _part("vlmeval.vlm.base").BaseModel

    def made(self: Any, model_path: str, **options: Any) -> None:
        base.__init__(self)
        self.harness = open_harness(str(model_path), options, f"{NAME}(...)")

    def generate_inner(self: Any, message: list[dict[str, Any]], dataset: str | None = None) -> str:
        where = f"VLMEvalKit, data set {dataset}"
        asked = question([(part["type"], part["value"]) for part in message], where)
        decode, stops = settings_of_task(self.harness, {}, where)
        answers: Iterator[Reply] = self.harness.answerer.answers([asked], decode, stops)
        return next(answers).text

    members = {
        "__doc__": "A checkpoint of latentvr.", "__module__": __name__, "INTERLEAVE": True,
        "allowed_types": ["text", "image"], "__init__": made, "generate_inner": generate_inner,
    }  # fmt: skip
    made_class: type[Any] = type(NAME, (base,), members)
    return made_class


def register(name: str, model_path: str, **options: Any) -> None:
    """Make a checkpoint known to VLMEvalKit's own scripts: as a model by name, and its class by `LatentVR`.

    Args:
        name: what `--model` of VLMEvalKit calls it.
        model_path: run folder, checkpoint, model folder or hub id.
        **options: settings of the recipe.

    Raises:
        UserError: VLMEvalKit is not installed.
    """
    made: Any = model_class()
    setattr(_part("vlmeval.vlm"), NAME, made)
    _part("vlmeval.config").supported_VLM[name] = partial(made, model_path=model_path, **options)


def run(
    model: str, data: Sequence[str], work_dir: Path, options: dict[str, str], judge: str
) -> dict[str, Any]:
    """Answer data sets of VLMEvalKit and score them with its own code.

    Predictions lie in `work_dir` under a name made of checkpoint and settings: a run that was stopped goes
    on, and answers of another checkpoint are never taken for this one's.

    Args:
        model: run folder, checkpoint, model folder or hub id.
        data: names of data sets, built in or a file `$LMUData/NAME.tsv`.
        work_dir: folder for predictions and scores.
        options: settings of the recipe.
        judge: VLMEvalKit's judge; `exact_matching` asks no other model.

    Returns:
        What VLMEvalKit's `evaluate` gave, by data set.

    Raises:
        UserError: VLMEvalKit, a data set or the checkpoint is missing or wrong.
    """
    build: Callable[[str], Any] = _part("vlmeval.dataset").build_dataset
    infer = _part("vlmeval.inference").infer_data_job
    file_of = _part("vlmeval.smp").get_pred_file_path
    sets = {name: build(name) for name in data}
    missing = [name for name, made in sets.items() if made is None]
    if missing:
        raise RecipeError(
            f"expected data sets of VLMEvalKit, got {', '.join(missing)}, at --data; "
            "fix: name one that it has, or put NAME.tsv into the folder $LMUData"
        )
    work_dir.mkdir(parents=True, exist_ok=True)
    name, answerer = run_name(model, options), model_class()(model, **options)
    scores = {}
    for data_name, made in sets.items():
        infer(model=answerer, work_dir=str(work_dir), model_name=name, dataset=made)
        file = file_of(str(work_dir), name, data_name, use_env_format=True)
        scores[data_name] = made.evaluate(file, model=judge, nproc=1)
    return scores


def run_name(model: str, options: dict[str, str]) -> str:
    """Give checkpoint and settings a name for files: equal for equal ones alone."""
    from latentvr.runs.inference import find_checkpoint

    folder = find_checkpoint(Path(model)) or Path(model)
    whole = str(folder.resolve() if folder.exists() else model)
    settings = sorted(f"{key}={value}" for key, value in options.items())
    digest = hashlib.sha256("\n".join([whole, *settings]).encode()).hexdigest()[:8]
    return f"latentvr-{re.sub(r'[^A-Za-z0-9.]+', '-', Path(model).name).strip('-')}-{digest}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those of the process by default.

    Returns:
        The exit code: 0 done, 1 failure, 2 the user's input.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {_PLACE}", description="VLMEvalKit with a checkpoint.")
    parser.add_argument(
        "--model", required=True, metavar="CKPT", help="run, checkpoint, model folder or hub id"
    )
    parser.add_argument("--data", required=True, metavar="NAME[,NAME]", help="data sets of VLMEvalKit")
    parser.add_argument("--work-dir", required=True, type=Path, metavar="DIR", help="predictions and scores")
    parser.add_argument("--judge", default="exact_matching", help="VLMEvalKit's judge")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="such as max_pixels=802816")
    given = parser.parse_args(arguments)
    try:
        data = [name for name in given.data.split(",") if name]
        for name, score in run(
            given.model, data, given.work_dir, _pairs(given.settings), given.judge
        ).items():
            sys.stdout.write(f"{name}\n{score}\n")
    except LatentVRError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in str(error).splitlines()))
        return error.exit_code
    return 0


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, mark, value = text.partition("=")
        if not mark:
            raise RecipeError(
                f"expected key=value, got {text!r}, at the command line; fix: write max_pixels=802816"
            )
        pairs[key] = value
    return pairs


if __name__ == "__main__":
    sys.exit(main())
