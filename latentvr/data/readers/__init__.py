"""Readers of record files, and of lists of them; the format is detected and said in the log."""

from __future__ import annotations

from latentvr.data.readers.detection import Format, detect
from latentvr.data.readers.reading import read
from latentvr.data.readers.source import FileSource, open_source

__all__ = ["FileSource", "Format", "detect", "open_source", "read"]
