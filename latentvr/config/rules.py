"""What a recipe with well-typed values can still get wrong; all violations are found together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from latentvr.config.decode_rules import decode_problems
from latentvr.config.deepspeed_rules import deepspeed_problems
from latentvr.config.device_rules import device_problems
from latentvr.config.load import Resolved
from latentvr.config.provenance import DEFAULT, Problem
from latentvr.config.ranges import out_of_range
from latentvr.config.rl_rules import rl_problems
from latentvr.config.schema import Recipe, RLConfig
from latentvr.config.stage_rules import stage_problems
from latentvr.config.suggest import close, sentence
from latentvr.config.without_effect import without_effect
from latentvr.errors import RecipeError

RUN_FILES = ("manifest.json", "recipe.yaml")
"""Files that mark a folder as a run folder."""


@dataclass(frozen=True)
class Violation:
    """A broken rule: the key to blame and the sentence."""

    key: str
    message: str


Rule = Callable[[Resolved], Iterator[Violation]]


def check(resolved: Resolved, rules: Sequence[Rule] | None = None) -> list[Problem]:
    """Return everything wrong with a resolved recipe, by all rules or some, in the order of its sections."""
    sections = [item.name for item in fields(Recipe)]
    violations = [violation for rule in rules or _RULES for violation in rule(resolved)]
    violations.sort(key=lambda violation: sections.index(violation.key.split(".")[0]))
    return [
        Problem(violation.key, violation.message, resolved.provenance.get(violation.key, DEFAULT))
        for violation in violations
    ]


def require(resolved: Resolved) -> None:
    """Refuse a recipe that no supervised run can use.

    Args:
        resolved: the recipe.

    Raises:
        RecipeError: there are violations; all are named, a line each.
    """
    _refuse(check(resolved))


def require_for_rl(resolved: Resolved) -> None:
    """Refuse a recipe that no reinforcement run can use; its stages are not looked at.

    Args:
        resolved: the recipe.

    Raises:
        RecipeError: there are violations; all are named, a line each.
    """
    _refuse([p for p in check(resolved, _RL_RULES) if p.key.split(".")[0] != "stages"])


def require_all(resolved: Resolved) -> None:
    """Refuse a recipe that breaks a rule of any run; those of reinforcement hold where it sets a key of `rl`.

    Args:
        resolved: the recipe.

    Raises:
        RecipeError: there are violations; all are named, a line each.
    """
    _refuse(check(resolved, (*_RULES, _rl) if sets_rl(resolved) else _RULES))


def sets_rl(resolved: Resolved) -> bool:
    """Tell whether the recipe or an override sets keys of the section `rl`.

    The settings that a supervised run writes hold the section whole, at its defaults; they set none.
    """
    origins = [origin for key, origin in resolved.provenance.items() if key.startswith("rl.")]
    given = [origin for origin in origins if origin != DEFAULT]
    return bool(given) and (len(given) < len(origins) or resolved.recipe.rl != RLConfig())


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        raise RecipeError("\n".join(str(problem) for problem in dict.fromkeys(problems)))


def require_for_evaluation(resolved: Resolved) -> None:
    """Refuse settings that no evaluation can use; what concerns training alone is not looked at.

    Args:
        resolved: settings of a run, with overrides.

    Raises:
        RecipeError: there are violations; all are named, a line each.
    """
    used = ("data", "decode", "eval", "model")
    rules = (_ranges, _visibilities, _toy, _decode_of_method)
    _refuse([p for p in check(resolved, rules) if p.key.split(".")[0] in used])


def require_for_data(resolved: Resolved) -> None:
    """Refuse settings that cannot give training images to a backbone; the method is not looked at.

    Args:
        resolved: settings, with overrides.

    Raises:
        RecipeError: there are violations; all are named, a line each.
    """
    rules = (_ranges, _pixels, _training_data, _toy)
    _refuse([p for p in check(resolved, rules) if p.key.split(".")[0] in ("data", "model")])


def missing_files(resolved: Resolved) -> list[Problem]:
    """Return the data paths of the recipe at which there is nothing on this machine."""
    data = resolved.recipe.data
    named = {
        "train": data.train,
        "validation": data.validation,
        "test": data.test,
        "image_root": data.image_root,
    }
    return [
        Problem(f"data.{name}", f"expected a file or folder, got nothing at {path}; fix: check the path",
                resolved.provenance[f"data.{name}"])
        for name, path in named.items()
        if path is not None and data.source == "records" and not Path(path).exists()
    ]  # fmt: skip


def _ranges(resolved: Resolved) -> Iterator[Violation]:
    for key, message in out_of_range(resolved.recipe):
        yield Violation(key, message)


def _reasoner(resolved: Resolved) -> Iterator[Violation]:
    reasoner = resolved.recipe.reasoner
    problems: Callable[[], list[str]] | None = getattr(reasoner, "problems", None)
    for text in problems() if problems is not None else []:
        name, mark, message = text.partition(": ")
        is_field = bool(mark) and f"reasoner.{name}" in resolved.provenance
        yield Violation(f"reasoner.{name}", message) if is_field else Violation("reasoner", text)


def _stages(resolved: Resolved) -> Iterator[Violation]:
    for key, message in stage_problems(resolved):
        yield Violation(key, message)


def _rl(resolved: Resolved) -> Iterator[Violation]:
    for key, message in rl_problems(resolved.recipe):
        yield Violation(key, message)


def _visibilities(resolved: Resolved) -> Iterator[Violation]:
    from latentvr.attention.visibility import PRESETS

    names = list(PRESETS)
    given = {f"stages.{name}.visibility": stage.visibility for name, stage in resolved.recipe.stages.items()}
    for key, value in {**given, "decode.visibility": resolved.recipe.decode.visibility}.items():
        if value not in names:
            hint = sentence(close(value, names)) or "; fix: use one of these"
            yield Violation(key, f"expected a visibility of {_listed(names)}, got {value!r}{hint}")


def _pixels(resolved: Resolved) -> Iterator[Violation]:
    low, high = resolved.recipe.model.min_pixels, resolved.recipe.model.max_pixels
    if low is not None and high is not None and low > high:
        yield Violation(
            "model.min_pixels", f"expected at most model.max_pixels ({high}), got {low}; fix: lower it"
        )


def _decode_of_method(resolved: Resolved) -> Iterator[Violation]:
    for key, message in decode_problems(resolved.recipe.decode, resolved.recipe.reasoner):
        yield Violation(key, message)


def _pack(resolved: Resolved) -> Iterator[Violation]:
    if resolved.recipe.model.pack:
        yield Violation(
            "model.pack",
            "expected false in training, got true; fix: leave it out, or give it to latentvr eval",
        )


def _device(resolved: Resolved) -> Iterator[Violation]:
    for key, message in device_problems(resolved.recipe):
        yield Violation(key, message)


def _without_effect(resolved: Resolved) -> Iterator[Violation]:
    for key, message in without_effect(resolved.recipe):
        yield Violation(key, message)


def _deepspeed(resolved: Resolved) -> Iterator[Violation]:
    for key, message in deepspeed_problems(resolved.recipe):
        yield Violation(key, message)


def _training_data(resolved: Resolved) -> Iterator[Violation]:
    data, keep = resolved.recipe.data, resolved.recipe.train.keep
    if data.source == "records" and data.train is None:
        yield Violation(
            "data.train", "expected a records file, got null; fix: set data.train, or data.source=toy"
        )
    if data.source == "toy" and data.toy.train == 0:
        yield Violation("data.toy.train", "expected at least 1, got 0; fix: raise it")
    if keep == "best":
        yield from _validation(resolved)


def _validation(resolved: Resolved) -> Iterator[Violation]:
    data = resolved.recipe.data
    if data.source == "records" and data.validation is None:
        yield Violation(
            "train.keep",
            "expected validation data for 'best', got none; fix: set data.validation, or train.keep=last",
        )
    if data.source == "toy" and data.toy.validation == 0:
        yield Violation(
            "data.toy.validation",
            "expected at least 1 for train.keep=best, got 0; fix: raise it, or train.keep=last",
        )
    if resolved.recipe.train.validate_epochs == 0:
        yield Violation(
            "train.validate_epochs",
            "expected at least 1 for train.keep=best, got 0; fix: set it to 1, or train.keep=last",
        )


def _lists(resolved: Resolved) -> Iterator[Violation]:
    lists = {
        "data.tasks": resolved.recipe.data.tasks,
        "log.trackers": list(map(str, resolved.recipe.log.trackers)),
    }
    for key, values in lists.items():
        for value in sorted({value for value in values if values.count(value) > 1}):
            yield Violation(key, f"expected each name once, got {value!r} again; fix: remove one")


def _toy(resolved: Resolved) -> Iterator[Violation]:
    data = resolved.recipe.data
    if data.source != "toy":
        return
    if data.toy.size % 64:
        yield Violation(
            "data.toy.size", f"expected a multiple of 64, got {data.toy.size}; fix: use 64 or 128"
        )
    from latentvr.data.toy import PRETRAINING_TASKS, TASKS

    known = [*TASKS, *PRETRAINING_TASKS]
    for task in data.tasks:
        if task not in known:
            hint = sentence(close(task, known)) or "; fix: use one of these"
            yield Violation("data.tasks", f"expected tasks of {_listed(known)}, got {task!r}{hint}")


def _output_dir(resolved: Resolved) -> Iterator[Violation]:
    folder = Path(resolved.recipe.train.output_dir)
    if folder.exists() and not folder.is_dir():
        yield Violation(
            "train.output_dir", f"expected a folder, got a file at {folder}; fix: choose another name"
        )
    elif (
        folder.is_dir() and any(folder.iterdir()) and not any((folder / name).exists() for name in RUN_FILES)
    ):
        yield Violation(
            "train.output_dir",
            f"expected an empty folder or a run folder, got other files at {folder}; fix: choose another",
        )


def _listed(names: object) -> str:
    return ", ".join(map(str, names)) if isinstance(names, (list, dict)) else str(names)


_SHARED: tuple[Rule, ...] = (
    _ranges, _reasoner, _pixels, _pack, _device, _without_effect, _deepspeed, _training_data, _toy, _lists,
    _visibilities, _decode_of_method, _output_dir,
)  # fmt: skip
_RULES: tuple[Rule, ...] = (*_SHARED, _stages)
_RL_RULES: tuple[Rule, ...] = (*_SHARED, _rl)
