"""Rewards are found by name: ours, those of packages, those of a file that the user trusts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from latentvr.config.schema import RLConfig
from latentvr.errors import RecipeError
from latentvr.rl.rewards import registry


def rl(*rewards: str, file: Path | None = None, trust: bool = True) -> RLConfig:
    path = None if file is None else str(file)
    return RLConfig(rewards=list(rewards), reward_file=path, trust_reward_file=trust and file is not None)


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes a reward file."""

    def write(code: str) -> Path:
        file = tmp_path / "my_rewards.py"
        file.write_text(code, encoding="utf-8")
        return file

    return write


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Installs a package with an entry point of the group."""

    def install(name: str, value: str, code: str = "") -> None:
        info = tmp_path / f"{name}_package-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}-package\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[latentvr.rewards]\n{name} = {value}\n")
        (tmp_path / f"{value.partition(':')[0]}.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


def test_names_come_without_torch() -> None:
    code = (
        "import sys; from latentvr.rl.rewards.registry import names\n"
        "print(*names()); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"accuracy", "attention", "format", "necessity", "roi_reconstruction"} <= set(done.stdout.split())


def test_our_own_are_there_and_need_no_limit() -> None:
    found = registry.resolve(rl(*registry.OWN))
    assert [reward.name for reward in found] == list(registry.OWN)
    assert all(callable(reward.function) and not reward.timed for reward in found)


def test_a_file_gives_functions_in_the_order_of_the_recipe(written: Any) -> None:
    file = written(
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Made:\n    value: float\n"
        "    def __call__(self, completions, **columns):\n        return [self.value] * len(completions)\n"
        "two = Made(2.0)\n"
        "def one(completions):\n    return [1.0] * len(completions)\n"
    )
    found = registry.resolve(rl("two", "accuracy", "one", file=file))
    assert [reward.timed for reward in found] == [True, False, True]
    assert found[0].function(completions=[1]) == [2.0]
    assert found[2].function(completions=[1]) == [1.0]


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        ("x = (", "one", r"can be imported, got SyntaxError: .*, at rl\.reward_file="),
        ("import no_such_package", "one", "got ModuleNotFoundError: No module named 'no_such_package'"),
        ("1 / 0", "one", "got ZeroDivisionError: division by zero"),
        ("def ones(): pass", "one", r"got 'one', at rl\.rewards and in .*my_rewards\.py.*ones"),
        ("one = 1", "one", r"expected a function one\(.*got a int"),
        ("class one: pass", "one", "got a type"),
        ("async def one(completions): return []", "one", r"got an async one, at one of .*my_rewards\.py"),
        (
            "class Made:\n    async def __call__(self, completions): return []\none = Made()",
            "one",
            "got an async one",
        ),
        ("raise SystemExit(3)", "one", r"can be imported, got SystemExit: 3, at rl\.reward_file="),
        ("def accuracy(): pass", "accuracy", "expected one reward of the name 'accuracy'"),
    ],
)
def test_a_wrong_file_is_told_in_one_sentence(written: Any, code: str, name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        registry.resolve(rl(name, file=written(code)))
    assert "\n" not in str(caught.value)
    assert "; fix: " in str(caught.value) or "did you mean" in str(caught.value)


def test_the_cause_stays_behind_the_sentence(written: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        registry.resolve(rl("one", file=written("1 / 0")))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_file_does_not_run_without_trust(written: Any, tmp_path: Path) -> None:
    file = written(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef one(): pass\n")
    with pytest.raises(RecipeError, match="trust_reward_file=true"):
        registry.resolve(rl("one", file=file, trust=False))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["missing.py", "rewards.txt"])
def test_a_file_that_is_no_python_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "rewards.txt").write_text("def one(): pass")
    with pytest.raises(RecipeError, match=r"got no such \.py file"):
        registry.resolve(rl("one", file=tmp_path / name))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"expected rewards of accuracy, .*, got 'acuracy'.*accuracy"):
        registry.resolve(rl("acuracy"))


def test_an_installed_package_adds_a_reward(package: Any) -> None:
    package("brevity", "brevity_code:brief", "def brief(completions, **columns): return [0.5]\n")
    assert "brevity" in registry.names()
    (found,) = registry.resolve(rl("brevity"))
    assert found.timed
    assert found.function(completions=[1]) == [0.5]


def test_a_package_that_takes_our_name_is_refused(package: Any) -> None:
    package("accuracy", "other_code:accuracy", "def accuracy(): pass\n")
    with pytest.raises(RecipeError, match="one reward of the name 'accuracy'"):
        registry.names()


def test_a_broken_package_is_told(package: Any) -> None:
    package("broken", "broken_code:gone", "")
    with pytest.raises(RecipeError, match=r"at entry point broken_code:gone \(reward 'broken'\)"):
        registry.resolve(rl("broken"))
