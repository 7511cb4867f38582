"""What the C library does with memory that Python and ONNX Runtime have freed. Only glibc can be
told, which the Lambda image has; elsewhere nothing is done.
"""

import ctypes
import sys

# mallopt(3). By default large blocks are mapped anew each time, and what is free at the heap's end
# goes back to the system: a batch of 16 photos took 5,800 page faults in some processes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_ABOVE_BYTES = 32 * 2**20
# Above a request's body and its network's input; a large photo's pixels go back to the system.
_MAP_FROM_BYTES = 4 * 2**20


def keep_for_reuse() -> None:
    """Keep what a request frees for the next one."""
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAP_FROM_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_ABOVE_BYTES)


def give_back_freed() -> None:
    """Building a session leaves free memory between what it keeps; the peak would stand on it."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
