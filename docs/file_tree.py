"""Print the file tree of the repository, a line per file; `README.md` ends with it.

Usage: python docs/file_tree.py [--write]
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = "## Files\n"
#: Files that cannot say what they are.
PLAIN = {
    ".ci/run": "What continuous integration runs on a clean checkout",
    ".gitignore": "What git leaves out",
    "LICENSE": "Apache License 2.0",
    "README.md": "This page",
    "py.typed": "Marks the package as typed",
    "tokenizer.json": "Byte-level BPE vocabulary",
    "tokenizer_config.json": "Settings of the tokenizer",
    "preprocessor_config.json": "Settings of the image processor",
    "chat_template.jinja": "Chat template",
    "config.json": "Architecture",
    "generation_config.json": "Token ids for generation",
    "model.safetensors": "Weights, float16",
    "special_tokens_map.json": "Special tokens",
    "pretraining.json": "Settings and figures of the pretraining",
    "constraints.txt": "The versions that the tests ran with",
    "pyproject.toml": "Metadata, dependencies and settings of all tools",
    "setup.cfg": "What older tools read",
    "Makefile": "setup, demo, test, check, bench",
    "CITATION.cff": "How to cite",
    "zero2.json": "DeepSpeed, ZeRO-2: optimiser and gradients are split over the processes",
    "zero3.json": "DeepSpeed, ZeRO-3: weights are split too",
    "zero3_offload.json": "DeepSpeed, ZeRO-3 with weights and optimiser in the machine's memory",
    "METADATA": "Name and version of the package that the tests find by entry point",
    "entry_points.txt": "Its entry point",
}


def files() -> list[str]:
    """Tracked files and new ones that git does not ignore, sorted."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return sorted({name for name in listed.splitlines() if (ROOT / name).is_file()}, key=_order)


def _order(name: str) -> tuple[tuple[int, str], ...]:
    """Files of a folder before its sub-folders."""
    parts = name.split("/")
    return (*((1, part) for part in parts[:-1]), (0, parts[-1]))


def line(name: str) -> str:
    """Say in one line what a file is, in its own words where it has any."""
    path = ROOT / name
    if name in PLAIN or path.name in PLAIN:
        return PLAIN.get(name) or PLAIN[path.name]
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return _first_sentence(ast.get_docstring(ast.parse(text)) or "")
    if path.suffix == ".md":
        return text.splitlines()[0].lstrip("# ")
    if path.suffix == ".json":
        return f"Published config, {json.loads(text)['model_type']}"
    rows = [row.strip() for row in text.splitlines() if row != "#" and not row.startswith(("#!", "#SBATCH"))]
    comment = next((row for row in rows if row.startswith(("#", "<!--", "{#"))), "")
    return _first_sentence(comment.strip("#<!->{} "))


def _first_sentence(text: str) -> str:
    """First line up to its full stop."""
    first = text.strip().split("\n")[0]
    return first.split(". ")[0].rstrip(".:")


def tree() -> str:
    """Folders as headings of indented lists."""
    out: list[str] = []
    seen: set[str] = set()
    for name in files():
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in seen:
                seen.add(folder)
                out.append(f"{'  ' * (depth - 1)}{parts[depth - 1]}/")
        out.append(f"{'  ' * (len(parts) - 1)}{parts[-1]}  {line(name)}".rstrip())
    return "\n".join(out)


def readme(text: str) -> str:
    """Put the tree at the end of the README's text."""
    return f"{text.split(HEADING)[0]}{HEADING}```\n{tree()}\n```\n"


if __name__ == "__main__":
    page = ROOT / "README.md"
    if "--write" in sys.argv:
        page.write_text(readme(page.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(tree())  # noqa: T201 - a script; the tree is its result
