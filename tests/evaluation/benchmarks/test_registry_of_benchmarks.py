"""Benchmarks by name, their wording, and where their files are looked for."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import latentvr.evaluation.benchmarks.styles as styles
from latentvr.data.record import Record
from latentvr.errors import UserError
from latentvr.evaluation.answer_rules import RULES
from latentvr.evaluation.benchmarks.opening import opened
from latentvr.evaluation.benchmarks.registry import NAMES, find

FILE = Path(styles.__file__).with_name("styles.yaml")


def test_eight_benchmarks_have_styles_and_nothing_else_has():
    assert [find(name).name for name in NAMES] == list(NAMES)
    assert set(yaml.safe_load(FILE.read_text())) == set(NAMES)
    assert all(next(iter(find(name).styles)) == "native" for name in NAMES)


def test_every_rule_exists():
    used = {
        rule for name in NAMES for s in find(name).styles.values() for rule in (s.rule, *s.rules.values())
    }
    assert used <= set(RULES)


@pytest.mark.parametrize("name", NAMES)
def test_every_wording_can_be_filled(name: str):
    meta = {"options_line": "A. x B. y"}
    for task in ("", "context"):
        record = Record(
            "1", task, "test", ("a.png",), "{prompt}", "A", "mcq", "{letters}", ("x", "y"), meta=meta
        )
        for style in find(name).styles.values():
            assert "{prompt}" in style.prompt(record) or "{letters}" in style.prompt(record)


def test_unknown_field_of_a_wording_is_an_error():
    record = Record("1", "t", "test", (), "p", "A")
    with pytest.raises(KeyError):
        styles.filled("{colour}", record)


def test_unknown_name_has_a_suggestion():
    with pytest.raises(UserError, match=r"got 'v-star'.*did you mean vstar\?"):
        find("v-star")


def test_a_named_folder_is_taken_and_must_exist(tmp_path: Path):
    assert opened("blink", str(tmp_path)) == tmp_path
    with pytest.raises(UserError, match=r"a folder or file of BLINK, got none"):
        opened("blink", str(tmp_path / "gone"))


@pytest.mark.parametrize("name", ["sat", "vsp"])
def test_what_cannot_be_fetched_says_how_to_get_it(name: str):
    with pytest.raises(UserError, match=f"fix: download .*{name}=FOLDER"):
        opened(name)


def test_without_a_network_one_sentence_names_the_way_out(tmp_path: Path):
    code = (
        "from latentvr.errors import UserError\n"
        "from latentvr.evaluation.benchmarks.opening import opened\n"
        "try:\n    opened('blink')\nexcept UserError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert made.stdout.startswith("expected the data set BLINK-Benchmark/BLINK, got ")
    assert made.stdout.count("\n") == 1
    assert "blink=FOLDER" in made.stdout


def test_a_copy_in_the_cache_of_the_hub_is_read_without_a_network(tmp_path: Path):
    """As huggingface_hub keeps it: files of a snapshot are links to blobs."""
    out = io.BytesIO()
    Image.new("RGB", (30, 20), "teal").save(out, "PNG")
    row = {
        "idx": "val_Jigsaw_1", "sub_task": "Jigsaw", "question": "?", "choices": ["a", "b"], "answer": "(A)",
        "prompt": "?\n(A) a\n(B) b", "explanation": "", "image_1": {"bytes": out.getvalue()},
        **dict.fromkeys(("image_2", "image_3", "image_4")),
    }  # fmt: skip
    repo = tmp_path / "hub" / "datasets--some--copy"
    file = repo / "snapshots" / "abc" / "Jigsaw" / "val-00000-of-00001.parquet"
    for folder in (repo / "blobs", repo / "refs", file.parent):
        folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row]), repo / "blobs" / "1")
    file.symlink_to("../../../blobs/1")
    (repo / "refs" / "main").write_text("abc")
    code = (
        "from latentvr.evaluation.benchmarks.opening import opened\n"
        "from latentvr.evaluation.benchmarks.registry import find\n"
        "source = find('blink').load(opened('blink', 'hf://datasets/some/copy'))\n"
        "print(len(source.records), source.images(source.records[0])[0].size)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "1 (30, 20)\n", done.stderr


@pytest.mark.parametrize("where", ["hf://datasets/one", "hf://datasets/a/b/c", "hf://datasets/"])
def test_a_wrong_id_of_the_hub_is_told(where: str):
    with pytest.raises(UserError, match="expected hf://datasets/OWNER/NAME, got "):
        opened("blink", where)
