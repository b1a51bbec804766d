"""Our model in the real lmms-eval: found by its entry point, run by its command line on tasks of our own.

The slow tests make an environment with lmms-eval, or take that of the variable LATENTVR_LMMS_EVAL_ENV.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import latentvr
from latentvr.data.toy import Toy
from latentvr.errors import UserError
from latentvr.integrations.lmms_eval_plugin import manifests

ENVIRONMENT = runpy.run_path(str(Path(__file__).with_name("lmms_eval_environment.py")))
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

TASK = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
task: {name}
test_split: test
output_type: generate_until
doc_to_visual: !function reading.pictures
doc_to_text: !function reading.text
{messages}
doc_to_target: answer
generation_kwargs: {{max_new_tokens: {length}, temperature: 0, do_sample: false}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
READING = """
from PIL import Image

def pictures(doc):
    return [Image.open(path).convert("RGB") for path in doc["pictures"]]

def text(doc, lmms_eval_specific_kwargs=None):
    return doc["prompt"]

def mixed(doc, lmms_eval_specific_kwargs=None):
    first, *others = [{"type": "image", "url": picture} for picture in pictures(doc)]
    between = {"type": "text", "text": "between"}
    return [{"role": "user", "content": [first, between, *others, {"type": "text", "text": doc["prompt"]}]}]
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with lmms-eval."""
    given = os.environ.get("LATENTVR_LMMS_EVAL_ENV")
    folder = Path(given) if given else tmp_path_factory.mktemp("lmms_eval") / "environment"
    try:
        return Path(ENVIRONMENT["make"](folder))
    except ENVIRONMENT["NotMade"] as error:
        pytest.skip(f"no environment with {ENVIRONMENT['LMMS_EVAL']} can be made here: {error}")


def _run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(python), *arguments], cwd=folder, env={**os.environ, **QUIET, "HF_HOME": str(folder / "hub")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def _tasks(folder: Path, rows: dict[str, list[dict[str, Any]]], length: int) -> None:
    """A folder of tasks: `apart` with all images first, `mixed` with text between them."""
    folder.mkdir()
    (folder / "reading.py").write_text(READING)
    for name, listed in rows.items():
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in listed))
        messages = "doc_to_messages: !function reading.mixed" if name == "mixed" else ""
        text = TASK.format(rows=file, name=name, messages=messages, length=length)
        (folder / f"{name}.yaml").write_text(text)


@pytest.mark.slow
def test_the_entry_point_gives_our_class(python: Path, tmp_path: Path) -> None:
    code = (
        "from lmms_eval.models import get_model, get_model_manifest\n"
        "made = get_model('latentvr')\n"
        "print(made.__module__, made.__name__, made.is_simple, get_model_manifest('latentvr').model_id)"
    )
    last = _run(python, tmp_path, "-c", code).stdout.splitlines()[-1]
    assert last == "latentvr.integrations.lmms_eval_model LatentVR False latentvr"


@pytest.mark.slow
def test_the_command_line_gives_the_answers_of_generate(
    python: Path, tmp_path: Path, span_checkpoint: Path, lab: Any
) -> None:
    """One row of each task has the model's own answer for its target, the other has not: half is right."""
    assistant = latentvr.load(span_checkpoint, "cpu")
    toy = Toy(("digit_at_mark",), "test", 1, seed=7)
    asked = {
        "apart": [(toy.records[0], toy.images(toy.records[0])), (lab.records["two images"], None)],
        "mixed": [(lab.records["three images"], None), (lab.records["two images"], None)],
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    answers: dict[str, list[str]] = {}
    for name, listed in asked.items():
        for i, (record, given) in enumerate(listed):
            images = given or lab.images(record)
            paths = [str(tmp_path / f"{name}_{i}_{j}.png") for j in range(len(images))]
            for path, image in zip(paths, images, strict=True):
                image.save(path)
            marks = ["<image>"] * len(images)
            marks.insert(1, "between" if name == "mixed" else "")
            answer = assistant.generate("".join(marks) + record.prompt, images, max_new_tokens=28).answer
            answers.setdefault(name, []).append(answer)
            row = {
                "pictures": paths,
                "prompt": record.prompt,
                "answer": answer if i == 0 else "something else",
            }
            rows.setdefault(name, []).append(row)
    steps = assistant.decode.latent_steps
    # The task's number counts text; a span of two steps and its two markers come on top.
    _tasks(tmp_path / "tasks", rows, length=28 - steps - 2)
    done = _run(
        python, tmp_path, "-m", "lmms_eval", "--model", "latentvr", "--tasks", "apart,mixed",
        "--model_args", f"pretrained={span_checkpoint},batch_size=2,latent_steps={steps}", "--device", "cpu",
        "--include_path", str(tmp_path / "tasks"), "--output_path", str(tmp_path / "out"), "--log_samples",
    )  # fmt: skip
    print(done.stdout)
    (file,) = (tmp_path / "out").rglob("*_results.json")
    results = json.loads(file.read_text())["results"]
    assert all(answers[name][0] for name in answers)
    for name in rows:
        (samples,) = (tmp_path / "out").rglob(f"*_samples_{name}.jsonl")
        found = sorted(
            (json.loads(line) for line in samples.read_text().splitlines()), key=lambda s: s["doc_id"]
        )
        assert [sample["filtered_resps"] for sample in found] == answers[name]
        assert results[name]["exact_match,none"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            "pretrained=tiny-qwen2.5-vl,max_pixel=3",
            "got 'max_pixel', at --model_args; fix: leave it out; did you mean model.max_pixels?",
        ),
        ("device=cpu", "expected pretrained=CKPT, got none, at --model_args"),
        ("tiny-qwen2.5-vl", "expected key=value,key=value, got 'tiny-qwen2.5-vl', at --model_args"),
    ],
)
def test_wrong_arguments_are_told_in_a_sentence(
    python: Path, tmp_path: Path, arguments: str, sentence: str
) -> None:
    code = (
        "import sys\nfrom lmms_eval.models import get_model\n"
        "from latentvr.errors import UserError\n"
        "own = {'batch_size': '1', 'device': None}\n"
        "try:\n    get_model('latentvr').create_from_arg_string(sys.argv[1], own)\n"
        "except UserError as error:\n    print(error)"
    )
    assert sentence in _run(python, tmp_path, "-c", code, arguments).stdout.splitlines()[-1]


def test_without_lmms_eval_one_sentence_says_what_to_install() -> None:
    if importlib.util.find_spec("lmms_eval"):
        pytest.skip("lmms-eval is installed")
    with pytest.raises(
        UserError, match=r"expected lmms-eval, got no module 'lmms_eval'.*latentvr\[lmms_eval\]"
    ):
        importlib.import_module("latentvr.integrations.lmms_eval_model")
    with pytest.raises(ModuleNotFoundError):
        manifests()


def test_the_plugin_imports_nothing_heavy() -> None:
    """lmms-eval loads it whenever it lists its models."""
    code = "import sys, latentvr.integrations.lmms_eval_plugin; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
