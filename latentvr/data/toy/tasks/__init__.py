"""The toy tasks, one file per family."""

from __future__ import annotations

from latentvr.data.toy.example import Task
from latentvr.data.toy.tasks import correspondence, counting, jigsaw, localization, naming, similarity

_MAIN = (
    counting.BY_COLOUR,
    counting.BY_DIGIT,
    localization.TASK,
    jigsaw.TASK,
    correspondence.TASK,
    similarity.TASK,
)

TASKS: tuple[str, ...] = tuple(task.name for task in _MAIN)
PRETRAINING_TASKS: tuple[str, ...] = tuple(task.name for task in naming.TASKS)
BY_NAME: dict[str, Task] = {task.name: task for task in (*_MAIN, *naming.TASKS)}
