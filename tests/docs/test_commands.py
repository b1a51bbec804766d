"""Every command in the README and the docs is run, in order, page by page, on little data."""

import re
import shlex
from functools import partial
from pathlib import Path

import pytest

from latentvr.cli.main import app, guarded

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMALL = ["data.toy.train=20", "data.toy.validation=8", "data.toy.test=8"]


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def python_blocks(page: Path) -> list[str]:
    """Python of pages that also have commands, which made what it needs."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def with_little_data(arguments: list[str]) -> list[str]:
    """Runs on generated scenes get few of them; recipes that need a download are only looked at."""
    if arguments[0] == "demo":
        return [*arguments, *SMALL]
    if arguments[0] in ("train", "rl") and "tiny" in arguments[1]:
        few = ["rl.steps=2", "train.batch_size=16"] if arguments[0] == "rl" else []
        return [*arguments, *SMALL, *few]
    if arguments[0] in ("train", "rl") and "--dry-run" not in arguments:
        return [*arguments, "--dry-run"]
    return arguments


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_works(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    for command in commands(page):
        program, *arguments = shlex.split(command)
        assert program == "latentvr", f"{page}: {command}: only latentvr's own commands stand in ```sh blocks"
        call = partial(app, args=with_little_data(arguments), standalone_mode=False)
        assert guarded(call) == 0, f"{page}: {command}"
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec"), {})  # noqa: S102 - our own documentation


def test_make_targets_in_docs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M):
            assert re.search(rf"^{target}:", makefile, re.M), f"{page}: make {target}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"
