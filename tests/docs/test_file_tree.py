"""The README ends with the tree of the repository as it is."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tree_of_repository() -> str:
    spec = importlib.util.spec_from_file_location("file_tree", ROOT / "docs" / "file_tree.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text: str = module.tree()
    return text


def test_readme_ends_with_the_tree() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.endswith(f"## Files\n```\n{tree_of_repository()}\n```\n"), (
        "run: python docs/file_tree.py --write"
    )


def test_every_file_says_what_it_is() -> None:
    lines = tree_of_repository().splitlines()
    silent = [line for line in lines if "  " not in line.strip() and "/" not in line]
    assert silent == []
