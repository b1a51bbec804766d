"""Reward functions from a Python file of the user."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from latentvr.errors import RecipeError
from latentvr.rl.rewards.others_code import OthersCode


def load(path: str, *, trusted: bool) -> ModuleType:
    """Run a Python file and give it as a module.

    Args:
        path: of the file.
        trusted: the user has said that its code may run.

    Returns:
        The module.

    Raises:
        RecipeError: it is not trusted, is no Python file, or raises while it runs.
    """
    if not trusted:
        raise RecipeError(
            f"expected rl.trust_reward_file=true with a file whose code is to run, got false, at {path}; "
            "fix: read the file, then set rl.trust_reward_file=true"
        )
    file = Path(path).expanduser().resolve()
    name = f"latentvr_rewards_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, file) if file.suffix == ".py" else None
    if spec is None or spec.loader is None or not file.is_file():
        raise RecipeError(
            f"expected a Python file of reward functions, got no such .py file, at rl.reward_file={path}; "
            "fix: correct the path"
        )
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and the like look their module up by its name.
    sys.modules[name] = module
    with OthersCode("a file that can be imported", f"rl.reward_file={path}", "correct it", RecipeError):
        spec.loader.exec_module(module)
    return module
