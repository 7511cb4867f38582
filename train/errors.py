"""Errors that end a verb early, each with its exit code.

Exception
└── TrainError
    ├── UsageError    2  the command, a folder or a file is wrong
    └── CheckFailedError   1  the result did not pass a check
"""

import errno
from typing import ClassVar


class TrainError(Exception):
    """Base of errors that are reported in one line instead of a traceback."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        """The message alone: torch puts the traceback of a worker process before it."""
        said = super().__str__()
        if "Original Traceback" in said:
            return said.rpartition(f"{type(self).__name__}: ")[2].strip()
        return said


class UsageError(TrainError):
    """The command cannot be carried out as given; the message says what to change."""

    exit_code = 2


class CheckFailedError(TrainError):
    """The result did not pass a check; the message has the figures."""


def require(holds: bool, flag: str, takes: str, found: object) -> None:
    """Raise UsageError unless `holds`; it names the flag, what it takes and what was given."""
    if not holds:
        raise UsageError(f"{flag} takes {takes}; found {found}.")


# What torch, its workers and NumPy say, in lower case, and what to do. Full shared memory is "no
# space left" on a file of torch's; a worker that the system killed for memory just exits.
_ADVICE = (
    (
        ("shared memory", "bus error", "</torch_"),
        "The processes that augment photos ran out of shared memory ({said}). Give the container "
        "more, docker run --shm-size 2g, or augment without them, --workers 0.",
    ),
    (
        ("too many open files",),
        "Too many files are open ({said}). Raise the limit, ulimit -n 65536, or lower --workers.",
    ),
    (
        (
            *("out of memory", "allocate memory", "unable to allocate", "not enough memory"),
            *("alloc_failed", "bad_alloc", "memoryerror", "signal: killed", "exited unexpectedly"),
        ),
        "Out of memory ({said}). Lower --batch (--accumulate keeps the steps as large), --input-px "
        "or --workers, or take a smaller --backbone.",
    ),
)


def in_one_line(error: Exception) -> TrainError | None:
    """What the machine refused (memory, a file), with what to do; None for a fault of the code."""
    lines = [*str(error).splitlines(), type(error).__name__]
    for words, advice in _ADVICE:
        said = [line.strip() for line in lines if any(word in line.lower() for word in words)]
        if said:
            return TrainError(advice.format(said=said[0][:160]))
    if not isinstance(error, OSError) or not error.errno:
        return None
    place = error.filename or "A file"
    if error.errno == errno.ENOSPC:
        return TrainError(f"{place} could not be written: the disk is full. Make room there.")
    return UsageError(
        f"{place} cannot be used: {error.strerror}. Check that it is there, and that this user may "
        "read it."
    )
