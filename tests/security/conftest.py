"""The command line of the end-to-end tests."""

from __future__ import annotations

import runpy
from pathlib import Path

latentvr = runpy.run_path(str(Path(__file__).parents[1] / "e2e" / "conftest.py"))["latentvr"]
