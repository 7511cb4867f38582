"""Errors that end a verb early, each with its exit code.

Exception
└── TrainError
    ├── UsageError    2  the command, a folder or a file is wrong
    └── CheckFailedError   1  the result did not pass a check
"""

from typing import ClassVar


class TrainError(Exception):
    """Base of errors that are reported in one line instead of a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(TrainError):
    """The command cannot be carried out as given; the message says what to change."""

    exit_code = 2


class CheckFailedError(TrainError):
    """The result did not pass a check; the message has the figures."""


def require(holds: bool, flag: str, takes: str, found: object) -> None:
    """Raise UsageError unless `holds`; it names the flag, what it takes and what was given."""
    if not holds:
        raise UsageError(f"{flag} takes {takes}; found {found}.")
