"""Freed memory goes back to the system. Only glibc, which the Lambda image has, can do that."""

import ctypes
import sys


def give_back_freed() -> None:
    """Return freed memory to the system, so that it does not add to the process's peak.

    Building a session leaves much of it, in gaps between what the session keeps.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
