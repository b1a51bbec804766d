"""Makes an environment with lmms-eval in it: `python tests/integrations/lmms_eval_environment.py FOLDER`.

It sees the packages of the environment that runs this, so that torch is not installed twice. Of lmms-eval's
long list of requirements, only what its evaluator imports is added.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
LMMS_EVAL = "lmms-eval==0.7.3"
IMPORTED = ("loguru", "sacrebleu", "evaluate", "pytz", "tenacity", "aiohttp", "pytablewriter")


class NotMade(RuntimeError):
    """The environment cannot be made here; the text says why."""


def make(folder: Path) -> Path:
    """The environment's interpreter; an environment that is complete is taken as it is."""
    python, complete = folder / "bin" / "python", folder / "complete"
    wanted = " ".join((LMMS_EVAL, *IMPORTED))
    if complete.is_file() and complete.read_text(encoding="utf-8") == wanted:
        return python
    venv.create(folder, with_pip=False, clear=True, symlinks=True)
    inside, here = (sysconfig.get_path("purelib", vars={"base": str(base)}) for base in (folder, sys.prefix))
    Path(inside, "shared.pth").write_text(f"import site; site.addsitedir({here!r})\n", encoding="utf-8")
    # Without it the entry point would be that of the version that was installed first.
    _install(python, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    _install(python, "--no-deps", LMMS_EVAL)
    _install(python, "--constraint", str(ROOT / "constraints.txt"), *IMPORTED)
    complete.write_text(wanted, encoding="utf-8")
    return python


def _install(python: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotMade(f"pip install {arguments[-1]}: {(errors or ['failed'])[-1]}")


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
