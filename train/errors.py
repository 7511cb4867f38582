"""What ends a verb early, each with the exit code that the shell sees.

Exception
└── TrainError
    ├── UsageError    2  the command, a folder or a file is wrong
    └── CheckFailedError   1  the work was done and a gate says no
"""

from typing import ClassVar


class TrainError(Exception):
    """Base of what a verb reports in one line instead of a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(TrainError):
    """The command cannot be carried out as given; the message says what to change."""

    exit_code = 2


class CheckFailedError(TrainError):
    """A check on the result failed; the message holds the figures."""


def require(holds: bool, flag: str, takes: str, found: object) -> None:
    """Raise UsageError, which names the flag, what it takes and what was given, if not `holds`."""
    if not holds:
        raise UsageError(f"{flag} takes {takes}; found {found}.")
