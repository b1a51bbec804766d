"""The exact first line for each way to write a recipe wrong.

`F` stands for the file's path and `NAMES` for the installed methods.
"""
# ruff: noqa: E501  (messages stand here as they are printed)

from __future__ import annotations

from pathlib import Path

import pytest

from latentvr.config.load import load
from latentvr.errors import RecipeError
from latentvr.reasoners.registry import names

WRONG_FILES = [
    ("optim:\n  learning_rat: 1\n", "F:2 optim.learning_rat: unknown key; did you mean optim.learning_rate?"),
    ("learning_rate: 1\n", "F:1 learning_rate: unknown key; did you mean optim.learning_rate or stages.<name>.learning_rate?"),
    ("train:\n  per_device_train_batch_size: 4\n",
     "F:2 train.per_device_train_batch_size: unknown key; did you mean train.batch_size?"),
    ("stages:\n  warm: {epcohs: 1}\n", "F:2 stages.warm.epcohs: unknown key; did you mean stages.warm.epochs?"),
    ("train:\n  num_train_epochs: 3\n",
     "F:2 train.num_train_epochs: unknown key; did you mean stages.<name>.epochs?"),
    ("zzz: 1\n", "F:1 zzz: unknown key"),
    ("reasoner:\n  name: liv\n",
     "F:2 reasoner.name: expected a reasoner of NAMES, got 'liv'; did you mean livr?"),
    ("reasoner: {latents: 4}\n", "F:1 reasoner.latents: unknown key"),
    ("train:\n  batch_size: two\n",
     "F:2 train.batch_size: expected a whole number, got 'two'; fix: write digits alone, such as 8"),
    ("train: {batch_size: 017}\n", "F:1 train.batch_size: expected a whole number, got '017'; fix: write 17"),
    ("train: {batch_size: 2.0}\n",
     "F:1 train.batch_size: expected a whole number, got '2.0'; fix: write digits alone, such as 8"),
    ("train: {batch_size: true}\n",
     "F:1 train.batch_size: expected a whole number, got 'true'; fix: write digits alone, such as 8"),
    ("log: {every: 12:30}\n", "F:1 log.every: expected a whole number, got '12:30'; fix: write digits alone, such as 8"),
    ("optim: {warmup: .nan}\n",
     "F:1 optim.warmup: expected a number, got '.nan'; fix: write digits, such as 0.1 or 1e-4"),
    ("optim: {warmup: 1e999}\n",
     "F:1 optim.warmup: expected a number, got '1e999'; fix: write digits, such as 0.1 or 1e-4"),
    ("train: {deterministic: 1}\n",
     "F:1 train.deterministic: expected true or false, got '1'; fix: write true or false"),
    ("model: {dtype: bf16}\n",
     "F:1 model.dtype: expected one of float32, bfloat16, float16, got 'bf16'; fix: use one of these"),
    ("train: {seed: null}\n",
     "F:1 train.seed: expected a whole number, got null; fix: give a value or leave the key out"),
    ("train: {output_dir: ''}\n",
     "F:1 train.output_dir: expected text, got an empty text; fix: give a value or leave the key out"),
    ("model: {path: '???'}\n", "F:1 model.path: expected text, got '???'; fix: give a value or leave the key out"),
    ("data: {tasks: counting}\n",
     "F:1 data.tasks: expected a list, got 'counting'; fix: write it in brackets, such as [a, b]"),
    ("data:\n  train: [a]\n", "F:2 data.train: expected one value, got a list; fix: give a single value"),
    ("optim:\ntrain: {seed: 1}\n",
     "F:1 optim: expected a mapping of keys, got null; fix: indent keys under it or leave it out"),
    ("stages: [a]\n", "F:1 stages: expected a mapping of keys, got a list; fix: indent keys under it or leave it out"),
    ("stages: {a.b: {epochs: 1}}\n",
     "F:1 stages.a.b: expected a name, got 'a.b'; fix: start with a letter, then letters, digits, '_' or '-'"),
    ("train: {seed: 1}\nlog: {every: 1}\ntrain: {seed: 2}\n",
     "F:3: expected plain YAML, got the key 'train' twice (first in line 1); fix: correct this line"),
    ("train: !!python/name:os.system {}\n",
     "F:1: expected plain YAML, got the tag 'tag:yaml.org,2002:python/name:os.system'; fix: correct this line"),
    ("a: &a {}\nb: [" + "*a," * 101 + "]\n",
     "F:2: expected plain YAML, got more than 100 aliases; fix: correct this line"),
    ("[" * 5000, "F:1: expected plain YAML, got more than 20 nested levels; fix: correct this line"),
    ("<<: {seed: 1}\n", "F:1: expected plain YAML, got the tag 'tag:yaml.org,2002:merge'; fix: correct this line"),
    ("? [a]\n: 1\n", "F:1: expected plain YAML, got a key that is not text; fix: correct this line"),
    ("a: 1\n---\nb: 1\n", "F:2: expected plain YAML, got an unreadable text (but found another document); fix: correct this line"),
    ("train: {seed: 1\n", "F:2: expected plain YAML, got an unreadable text (expected ',' or '}', but got '<stream end>'); fix: correct this line"),
    ("train: \x07\n", "F:1: expected printable text, got the character 0x0007; fix: remove it"),
    ("", "expected a recipe with at least one key, got an empty file at F; fix: write it"),
    ("# nothing\n", "expected a recipe with at least one key, got an empty file at F; fix: write it"),
    ("- a\n", "expected a mapping of sections, got a list at F:1; fix: start with a section such as 'reasoner:'"),
    ("\nhello\n",
     "expected a mapping of sections, got a single value at F:2; fix: start with a section such as 'reasoner:'"),
    ("data: {train: '${oc.env:AWS_SECRET}'}\n",
     "F:1 data.train: expected a variable of HF_HOME, HOME, SCRATCH, WANDB_PROJECT, got 'AWS_SECRET'; "
     "fix: write the value itself"),
    ("data: {train: '${oc.decode:x}'}\n",
     "F:1 data.train: expected a full key or oc.env:NAME in ${…}, got 'oc.decode:x'; fix: name a key of the recipe"),
    ("data: {train: '${train.sed}'}\n",
     "F:1 data.train: expected a full key or oc.env:NAME in ${…}, got 'train.sed'; did you mean train.seed?"),
    ("data: {train: '${oc.env:${train.seed}}'}\n",
     "F:1 data.train: expected ${key} or ${oc.env:NAME}, got '${oc.env:${train.seed}}'; fix: do not nest or escape it"),
    ("data: {train: '${data.test}', test: '${data.train}'}\n",
     "F:1 data.train: expected a value, got '${data.test}', which leads back to itself; fix: write it"),
    ("train: {seed: '${optim.warmup}'}\n",
     "F:1 train.seed: expected whole number, got '${optim.warmup}', which stands for something else; "
     "fix: write the value"),
]  # fmt: skip


def _named(message: str) -> str:
    return message.replace("NAMES", ", ".join(names()))


@pytest.mark.parametrize(("text", "message"), WRONG_FILES)
def test_the_first_line_of_a_wrong_file(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        load(path)
    assert str(error.value).splitlines()[0].replace(str(path), "F") == _named(message)


WRONG_OVERRIDES = [
    ("train.batch_size", "expected key=value, got 'train.batch_size' at the command line; "
     "fix: write for example train.batch_size=2"),
    ("lr=1", "command line lr: unknown key; did you mean optim.learning_rate?"),
    ("+train.seed=1", "command line +train.seed: unknown key; did you mean train.seed?"),
    ("stages.warm.epochs=1", "command line stages.warm.epochs: expected a stage of causal, got 'warm'; "
     "fix: use one of these or add it to the recipe"),
    ("data.tasks=[a", "command line data.tasks:1: expected plain YAML, got an unreadable text (expected ',' or ']', but got "
     "'<stream end>'); fix: correct this line"),
    ("data.tasks=", "command line data.tasks: expected a list, got null; fix: write it in brackets, such as [a, b]"),
    ("optim=3", "command line optim: expected a mapping of keys, got '3'; fix: indent keys under it or leave it out"),
    ("reasoner.name=cot", "command line reasoner.name: expected a reasoner of NAMES, got 'cot'; "
     "fix: use one of these or install the package of the method"),
    ("train.seed=None", "command line train.seed: expected a whole number, got null; "
     "fix: give a value or leave the key out"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "message"), WRONG_OVERRIDES)
def test_the_first_line_of_a_wrong_override(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        load(None, [override])
    assert str(error.value).splitlines()[0] == _named(message)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"^expected a recipe file, got nothing at .*y\.yaml; fix: check the path$"
    ):
        load(tmp_path / "y.yaml")
    with pytest.raises(
        RecipeError, match=r"^expected a recipe file, got a folder at .*; fix: name a \.yaml file"
    ):
        load(tmp_path)


def test_other_encodings_are_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes("# ok\n# caf\u00e9\n".encode("latin-1"))
    with pytest.raises(RecipeError) as error:
        load(path)
    assert str(error.value) == f"expected UTF-8 text, got the byte 0xe9 at {path}:2; fix: save it as UTF-8"


def test_a_file_above_one_megabyte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("#" * 1_000_001)
    with pytest.raises(RecipeError) as error:
        load(path)
    assert str(error.value) == (
        f"expected a recipe of at most 1000000 bytes, got 1000001 at {path}; fix: shorten it"
    )


def test_an_unset_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCRATCH", raising=False)
    with pytest.raises(RecipeError) as error:
        load(None, ["data.train=${oc.env:SCRATCH}"])
    assert str(error.value) == (
        "command line data.train: expected the variable SCRATCH to be set, got none; "
        "fix: export SCRATCH or write the value"
    )
    assert load(None, ["data.train=${oc.env:SCRATCH,here}"]).recipe.data.train == "here"
