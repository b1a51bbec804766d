"""Rules about the source tree that no linter knows: layers, sizes, and what must not be written."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "latentvr"
FILES = sorted(ROOT.rglob("*.py"))
# From the bottom up: a file imports from its own layer and from those before it.
LAYERS = (
    "errors", "config", "attention", "data", "reasoners", "models", "decoding", "evaluation", "diagnostics",
    "rl", "trainers", "runs", "integrations", "cli",
)  # fmt: skip
BLIND = ("trainers", "data", "decoding", "rl", "cli", "runs", "evaluation", "diagnostics")


def _name(file: Path) -> str:
    """Dotted name of a file, `latentvr` left out."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _layer(module: str) -> int:
    """Index of a module's layer; the registry and the methods' options are torch-free, like config."""
    if module == "reasoners" or module == "reasoners.registry":
        return LAYERS.index("config")
    if re.fullmatch(r"reasoners\.\w+(\.config)?", module) and module != "reasoners.base":
        return LAYERS.index("config")
    return LAYERS.index(module.split(".")[0])


def _imports(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """Line, module and whether it is imported inside a function, for imports of this package at run time."""
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    typing_only = {
        id(n)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for n in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "latentvr":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                known = (ROOT.parent / Path(*whole.split("."))).with_suffix(".py")
                is_module = known.is_file() or known.with_suffix("").is_dir()
                yield node.lineno, whole if is_module else str(node.module), id(node) in inside
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "latentvr":
                    yield node.lineno, alias.name, id(node) in inside


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_imports_point_down(file: Path) -> None:
    own = _name(file)
    if own in ("", "__init__", "__main__"):
        return
    wrong = []
    for line, module, lazy in _imports(ast.parse(file.read_text())):
        target = module.removeprefix("latentvr").removeprefix(".")
        # The settings of a recipe name methods, tasks and visibilities; they ask for them when they are used.
        if not target or (own.startswith("config.") and lazy):
            continue
        if _layer(target) > _layer(own):
            wrong.append(f"line {line}: {own} imports {target}")
    assert wrong == []


@pytest.mark.parametrize("file", [f for f in FILES if f.relative_to(ROOT).parts[0] in BLIND], ids=_name)
def test_no_method_is_named_outside_its_folder(file: Path) -> None:
    found = [line for line in file.read_text().splitlines() if re.search(r"\b(livr|lvr)\b", line, re.I)]
    assert found == []


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_files_and_functions_are_short(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= 600
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, kinds)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > 70] == []


def _is_forbidden(node: ast.AST) -> bool:
    if isinstance(node, ast.ExceptHandler):
        return node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
        return any(name.split(".")[0] in ("pickle", "cPickle", "dill", "joblib", "shelve") for name in names)
    if not isinstance(node, ast.Call):
        return False
    keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
    name = ast.unparse(node.func)
    return (
        name in ("eval", "exec", "compile", "__import__", "os.system", "yaml.load", "yaml.unsafe_load")
        or (name == "torch.load" and keywords.get("weights_only") != "True")
        or keywords.get("shell") == "True"
        or keywords.get("allow_pickle") == "True"
    )


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_nothing_dangerous_is_called(file: Path) -> None:
    found = [n for n in ast.walk(ast.parse(file.read_text())) if _is_forbidden(n)]
    assert [f"line {getattr(n, 'lineno', 0)}" for n in found] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "eval('1')", "exec('1')", "torch.load(f)",
        "yaml.load(f)", "torch.load(f, weights_only=False)", "subprocess.run('ls', shell=True)",
        "np.load(f, allow_pickle=True)",
        "try: pass\nexcept Exception: pass", "try: pass\nexcept: pass",
    ],
)  # fmt: skip
def test_the_check_finds(code: str) -> None:
    assert any(_is_forbidden(node) for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize("code", ["torch.load(f, weights_only=True)", "yaml.safe_load(f)", "model.eval()"])
def test_the_check_lets_pass(code: str) -> None:
    assert not any(_is_forbidden(node) for node in ast.walk(ast.parse(code)))


def test_the_import_check_finds_what_points_up() -> None:
    tree = ast.parse("def f():\n    from latentvr.runs import sft\nfrom latentvr.data.record import Record\n")
    assert sorted(_imports(tree)) == [(2, "latentvr.runs.sft", True), (3, "latentvr.data.record", False)]
    assert _layer("runs.sft") > _layer("trainers.sft") > _layer("reasoners.base") > _layer("data.record")
    assert _layer("reasoners.registry") < _layer("attention.mask") < _layer("reasoners.direct.reasoner")
    assert _layer("reasoners.direct.config") == _layer("reasoners.registry")
