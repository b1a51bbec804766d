"""Every error that a user can cause, with the exit code that the command line gives it.

A message is one sentence: what was expected, what was found, where, and how to mend it.
"""


class LatentVRError(Exception):
    """Base of all errors that are shown without a traceback."""

    exit_code = 1


class UserError(LatentVRError):
    """The user's input is wrong; nothing was changed."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe, an override or a combination of settings is wrong."""


class RecordError(UserError):
    """A data record is wrong; the message names the file and the row."""


class ImageError(UserError):
    """An image is missing, unsafe or unreadable."""


class ModelError(UserError):
    """A model folder, a hub id or a processor cannot be used."""


class CheckpointError(UserError):
    """A checkpoint is damaged, incomplete or does not fit."""


class VisibilityError(UserError):
    """A visibility is unknown, or the chosen attention kernel cannot honour it."""


class NonFiniteError(LatentVRError):
    """A loss term or a gradient is NaN or infinite; the weights were not changed."""


class OutOfMemory(LatentVRError):
    """The device has too little memory; what was saved before is whole."""

    exit_code = 3


class SaveError(LatentVRError):
    """A file of the run could not be written; what was saved before is whole."""


class Interrupted(LatentVRError):
    """A signal stopped the run after a clean save."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
