"""Methods are found by folder and by entry point, and settings load without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from latentvr.config.load import load
from latentvr.config.schema import ReasonerConfig, StageConfig
from latentvr.errors import RecipeError
from latentvr.reasoners import registry

CONFIG = """\
from dataclasses import dataclass
from latentvr.config.schema import ReasonerConfig, StageConfig

@dataclass
class Config(ReasonerConfig):
    "Options."
    name: str = "thoughts"
    steps: int = 3
    '''Number of thoughts.'''

def default_stages():
    return {"think": StageConfig(epochs=2)}
"""
REASONER = "class Reasoner:\n    pass\n"


def _install(folder: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    info = folder / "thoughts_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thoughts-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[latentvr.reasoners]\n{entry}\n")
    monkeypatch.syspath_prepend(str(folder))


def _package(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("")
    (folder / name / "config.py").write_text(CONFIG)
    (folder / name / "reasoner.py").write_text(REASONER)


@pytest.mark.parametrize("name", registry.builtin_names())
def test_a_built_in_method_has_options_of_its_name_and_stages(name: str) -> None:
    config = registry.config_class(name)
    stages = registry.default_stages(name)
    assert issubclass(config, ReasonerConfig)
    assert config().name == name
    assert stages
    assert all(isinstance(stage, StageConfig) for stage in stages.values())


def test_settings_of_all_methods_load_without_torch() -> None:
    code = (
        "import sys; from latentvr.reasoners import registry as r\n"
        "[(r.config_class(n), r.default_stages(n)) for n in r.builtin_names()]\n"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_package_behind_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, "thoughts_as_package")
    _install(tmp_path, monkeypatch, "thoughts = thoughts_as_package")
    assert "thoughts" in registry.names()
    assert "thoughts" not in registry.builtin_names()
    resolved = load(None, ["reasoner.name=thoughts", "reasoner.steps=5"])
    assert vars(resolved.recipe.reasoner) == {"name": "thoughts", "steps": 5}
    assert resolved.recipe.stages["think"].epochs == 2
    assert registry.reasoner_class("thoughts").__module__ == "thoughts_as_package.reasoner"


def test_a_single_module_behind_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thoughts_as_module.py").write_text(CONFIG + REASONER)
    _install(tmp_path, monkeypatch, "thoughts = thoughts_as_module")
    assert registry.config_class("thoughts")().name == "thoughts"
    assert registry.reasoner_class("thoughts").__module__ == "thoughts_as_module"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "thoughts = thoughts_not_there",
            "expected an importable package thoughts_not_there for the reasoner",
        ),
        ("thoughts = json", "expected an importable package json.config for the reasoner"),
        ("thoughts = string", "expected Config in string"),
        ("livr = json", "expected one package for the reasoner 'livr', got latentvr.reasoners.livr and json"),
    ],
)
def test_broken_plug_ins(entry: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(tmp_path, monkeypatch, entry)
    with pytest.raises(RecipeError) as error:
        registry.config_class(entry.split(" ")[0])
    assert str(error.value).startswith(message)


def test_an_unknown_name_is_answered_with_a_close_one() -> None:
    with pytest.raises(RecipeError) as error:
        registry.config_class("direkt")
    assert str(error.value) == (
        f"expected a reasoner of {', '.join(registry.names())}, got 'direkt'; did you mean direct?"
    )
