"""The page on reproduction: its figures are those of the papers' file, its commands can be given.

Breaks when: a figure of the page is old, a recipe, an override, a builder, a rule of one, a benchmark, a
style or a row of a table has another name, or a table of the papers is missing.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from latentvr.cli.main import app, guarded
from latentvr.config.load import load
from latentvr.config.rules import require, require_for_rl
from latentvr.data.builders import registry
from latentvr.diagnostics.interventions import chosen
from latentvr.evaluation.benchmarks.registry import find as find_benchmark
from latentvr.evaluation.papers import find, papers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S)
FOUND = [re.search(r"\blatentvr (.*)", line) for block in BLOCKS for line in block.splitlines()]
LINES = [shlex.split(found[1]) for found in FOUND if found]
RUNS = [line for line in LINES if line[0] in ("train", "rl")]
BUILDS = [line for line in LINES if line[:2] == ["data", "build"]]
EVALS = [line for line in LINES if line[0] in ("eval", "diagnose")]
REPORTS = [line for line in LINES if line[0] == "report-table"]
# What bash makes of the page: loops run through, variables and braces filled in.
SHELL = """
latentvr() { printf '%s\\037' "$@"; echo; }
torchrun() { while [ "$1" != latentvr ]; do shift; done; shift; latentvr "$@"; }
"""
# Sections whose keys `latentvr eval` takes, as the recipes of the page show them.
CHANGES = re.compile(r"(data|decode|eval)\.\w+=")


def option(line: list[str], name: str) -> str | None:
    return line[line.index(name) + 1] if name in line else None


def overrides(line: list[str]) -> list[str]:
    """Words with an equals sign that are no option's value."""
    free = [word for before, word in pairwise(line) if not before.startswith("--")]
    return [word for word in free if "=" in word]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paper_tables", ROOT / "docs" / "paper_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figures_are_those_of_the_papers() -> None:
    assert script().with_tables(PAGE) == PAGE, "run: python docs/paper_tables.py --write"
    assert re.findall(r"^<!-- report-table (\S+) -->$", PAGE, re.M) == list(papers().tables)


def test_every_line_is_of_a_known_verb() -> None:
    assert len(LINES) == len(RUNS) + len(BUILDS) + len(EVALS) + len(REPORTS)
    assert min(map(len, (RUNS, BUILDS, EVALS, REPORTS))) > 10


@pytest.mark.parametrize("line", RUNS, ids=" ".join)
def test_a_run_is_valid(line: list[str]) -> None:
    (require if line[0] == "train" else require_for_rl)(load(ROOT / line[1], line[2:]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["livr_qwen3_4b", "lvr_qwen25vl_7b"])
def test_dry_runs_of_the_page_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = [line for line in RUNS if line[1] == f"recipes/{name}.yaml"][-1]
    call = partial(app, args=[line[0], str(ROOT / line[1]), *line[2:], "--dry-run"], standalone_mode=False)
    assert guarded(call) == 0
    assert " train (" in capsys.readouterr().out


@pytest.fixture(scope="module")
def given() -> list[list[str]]:
    """The commands that the page gives when its blocks are pasted into bash."""
    done = subprocess.run(
        ["bash", "-euc", SHELL + "".join(BLOCKS)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return [line.split("\x1f")[:-1] for line in done.stdout.splitlines()]


def test_runs_have_folders_of_their_own_and_what_is_read_was_written(given: list[list[str]]) -> None:
    written = [
        load(ROOT / line[1], line[2:]).recipe.train.output_dir for line in given if line[0] in ("train", "rl")
    ]
    assert len(set(written)) == len(written) > 20
    evaluated = {line[1] for line in given if line[0] in ("eval", "diagnose")}
    assert {run for run in evaluated if run.startswith("runs/")} <= set(written)
    outs = {out for line in given if line[0] == "eval" and (out := option(line, "--out"))}
    measured = {text.partition("=")[2] for line in given if line[0] == "report-table" for text in line[2:]}
    assert measured <= evaluated | outs | {str(Path(out).parent) for out in outs}


def test_files_of_records_are_those_that_builders_write(given: list[list[str]]) -> None:
    """Breaks when a run or an evaluation names test records of a task that has none."""
    built = {option(line, "--out"): line for line in given if line[:2] == ["data", "build"]}
    files = [word.partition("=")[2] for line in given for word in line if re.match(r"data\.\w+=data/", word)]
    files += [file for line in given if (file := option(line, "--data"))]
    assert len(files) > 40
    for file in map(Path, files):
        if file.name != "six_tasks.json":
            line = built[str(file.parent)]
            rules = registry.parse_rules(registry.find(line[2]), overrides(line))
            assert hasattr(rules, file.stem), file


@pytest.mark.parametrize("line", BUILDS, ids=" ".join)
def test_a_build_has_rules_that_there_are(line: list[str]) -> None:
    builder = registry.find(line[2])
    registry.parse_rules(builder, overrides(line))
    assert option(line, "--root")
    assert option(line, "--out")


def test_the_recipes_read_what_is_built() -> None:
    built = {option(line, "--out") for line in BUILDS}
    for line in RUNS:
        data = load(ROOT / line[1], line[2:]).recipe.data
        for path in (data.train, data.validation):
            if path and "$task" not in path and "viscot/" not in path and not path.endswith("six_tasks.json"):
                assert str(Path(path).parent) in built, path


@pytest.mark.parametrize("line", EVALS, ids=" ".join)
def test_an_evaluation_names_what_there_is(line: list[str]) -> None:
    for part in filter(None, (option(line, "--bench") or "").split(",")):
        find_benchmark(part.partition("=")[0]).style(option(line, "--style") or "native")
    assert all(CHANGES.match(text) for text in overrides(line))
    changed = [text for text in overrides(line) if "$" not in text]
    load(ROOT / "recipes" / "lvr_qwen25vl_7b.yaml", changed)
    if interventions := option(line, "--interventions"):
        assert chosen(interventions.split(","))


@pytest.mark.parametrize("line", REPORTS, ids=" ".join)
def test_a_report_names_rows_that_there_are(line: list[str]) -> None:
    table = find(line[1])
    assert line[2:]
    for given in line[2:]:
        row, _, column = given.partition("=")[0].partition(":")
        table.row(row)
        assert not column or table.column(column)


def test_the_six_tasks_are_those_of_the_table() -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.M | re.S)
    files = json.loads(block)
    built = {line[2] for line in BUILDS}
    assert all(each["data_path"] == f"{each['image_folder']}/train.jsonl" for each in files)
    assert {each["image_folder"] for each in files} <= built
    assert len(files) == sum(not column.mean for column in find("livr-2").columns)


def test_the_page_says_what_is_not_known() -> None:
    for words in ("None of these runs has been made here", "unmeasured", "LLaVA-OneVision-1.5"):
        assert words in PAGE
    for paper in papers().papers.values():
        assert f"arXiv {paper.arxiv}" in PAGE
