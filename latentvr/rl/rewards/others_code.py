"""Errors of code that is not ours, told in one sentence with the cause behind it."""

from __future__ import annotations

from types import TracebackType

from latentvr.errors import LatentVRError, UserError


class OthersCode:
    """A `with` block that runs code of a user or of an installed package.

    Whatever it raises may be raised: there is no list of classes to name. Code that leaves the process by
    SystemExit is told as well; KeyboardInterrupt is the user's and passes.

    Args:
        what: for the sentence: what was expected of the code.
        where: for the sentence: which code, and about which records.
        mend: for the sentence: how to mend it.
        kind: class of the error that is raised instead; errors of this library pass as they are.
    """

    def __init__(self, what: str, where: str, mend: str, kind: type[UserError] = UserError) -> None:
        self.what, self.where, self.mend, self.kind = what, where, mend, kind

    def __enter__(self) -> None:
        """Nothing to do before."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell the error.

        Args:
            kind: class of the error.
            error: what the code raised, or None.
            trace: where.

        Raises:
            UserError: the code raised something, which is chained to it.
        """
        del kind, trace
        if isinstance(error, Exception | SystemExit) and not isinstance(error, LatentVRError):
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise self.kind(f"expected {self.what}, got {said}, at {self.where}; fix: {self.mend}") from error
