"""A file in, its picture out, decoded by a child process whose time and memory are limited.

The libraries of TIFF, AVIF and HEIC cannot be bounded from inside. The child (serving/images/
child.py) starts with the first such file and stays for the next; threads that decode at once have
a child each. It has no standard error, no environment and no files to write. Where the system has
no such limits, the files are decoded in this process.
"""

import atexit
import itertools
import json
import logging
import os
import select
import signal
import struct
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

from PIL import Image

from serving.errors import CostlyImageError, UndecodableImageError, UnsupportedImageError
from serving.images import reading
from serving.images.formats import Format
from serving.images.reading import Decoded, Wanted

try:
    import resource
except ImportError:  # Windows
    _HAS_LIMITS = False
else:
    _HAS_LIMITS = hasattr(resource, "setrlimit")

_CHILD = Path(__file__).with_name("child.py")
_LENGTHS = struct.Struct(">II")  # as in child.py
# On a fraction of a vCPU, CPU time takes several times as long.
_WALL_TIMES_CPU = 6
_CHUNK_BYTES = 1_048_576
_DYING_S = 2.0  # for a process that has closed its output
_LIMITS = frozenset((signal.SIGPROF, signal.SIGXCPU, signal.SIGKILL)) if _HAS_LIMITS else ()
_REFUSALS = {
    error.code: error for error in (UnsupportedImageError, UndecodableImageError, CostlyImageError)
}


def read(data: bytes, known: Format, wanted: Wanted) -> Decoded:
    """`reading.read` in a child process.

    Raises:
        CostlyImageError: the child was ended for the time or memory that it took.
        UndecodableImageError: the child crashed; also as `reading.read`.
        UnsupportedImageError: as `reading.read`.
    """
    if not _HAS_LIMITS:
        _say_once()
        return reading.read(data, known, wanted)
    question = {"format": known.name, "cpu_s": known.cpu_s, "wanted": asdict(wanted)}
    facts, pixels = _asked(question, data, known)
    if "code" in facts:
        raise _REFUSALS[facts["code"]](facts["detail"])
    image = Image.frombytes("RGB", tuple(facts["size"]), pixels)
    file_px = (facts["file_px"][0], facts["file_px"][1])
    return Decoded(image, None, known.name, facts["mode"], file_px, facts["orientation"])


def _asked(question: dict[str, Any], data: bytes, known: Format) -> tuple[dict[str, Any], bytes]:
    """The answer of an idle child, or of a new one; an idle one may have ended meanwhile."""
    while _idle:
        try:
            child = _idle.pop()
        except IndexError:  # another thread was faster
            break
        if child.is_alive():
            return child.answer(question, data, known)
        child.end()
    return _Child().answer(question, data, known)


class _EndedError(Exception):
    """The child has ended."""


class _Child:
    """A child process, and the pipes to it."""

    def __init__(self) -> None:
        paths = [str(Path(entry).absolute()) for entry in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_CHILD), *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # No credentials. AWS's Python finds its own library by the first variable; without the
            # second one, glibc sets 64 MB of address space aside for each of a library's threads.
            env={"LD_LIBRARY_PATH": f"{sys.base_prefix}/lib", "MALLOC_ARENA_MAX": "1"},
        )
        self._readable = select.poll()
        self._readable.register(self._taken, select.POLLIN)

    @property
    def _given(self) -> IO[bytes]:
        return cast(IO[bytes], self._process.stdin)

    @property
    def _taken(self) -> IO[bytes]:
        return cast(IO[bytes], self._process.stdout)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def answer(
        self, question: dict[str, Any], data: bytes, known: Format
    ) -> tuple[dict[str, Any], bytes]:
        """Ask the child, and keep it for the next file if it is still there.

        Raises:
            CostlyImageError, UndecodableImageError: it has ended.
        """
        late_at = time.monotonic() + _WALL_TIMES_CPU * known.cpu_s
        try:
            self._put(question, data)
            head_bytes, data_bytes = _LENGTHS.unpack(self._get(_LENGTHS.size, late_at))
            head: dict[str, Any] = json.loads(self._get(head_bytes, late_at))
            pixels = self._get(data_bytes, late_at)
        except (_EndedError, TimeoutError, OSError) as error:
            status = self.end(wait_s=0.0 if isinstance(error, TimeoutError) else _DYING_S)
            raise _refusal(status, known) from None
        except BaseException:  # such as the end of this process: the pipes hold half an answer
            self.end()
            raise
        if head["is_last"]:
            self.end(wait_s=_DYING_S)
        else:
            _idle.append(self)
        return head, pixels

    def _put(self, question: dict[str, Any], data: bytes) -> None:
        head = json.dumps(question).encode()
        self._given.write(_LENGTHS.pack(len(head), len(data)) + head)
        self._given.write(data)
        self._given.flush()

    def _get(self, length: int, late_at: float) -> bytes:
        got = bytearray()
        while len(got) < length:
            left_s = max(0.0, late_at - time.monotonic())
            if not self._readable.poll(left_s * 1_000):
                raise TimeoutError
            part = os.read(self._taken.fileno(), min(_CHUNK_BYTES, length - len(got)))
            if not part:
                raise _EndedError
            got += part
        return bytes(got)

    def end(self, *, wait_s: float = 0.0) -> int:
        """End the process, unless it ends by itself within `wait_s`; returns how it ended."""
        try:
            status = self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        with suppress(OSError):  # what was not written yet cannot be written any more
            self._given.close()
        self._taken.close()
        return status


def _refusal(status: int, known: Format) -> UndecodableImageError:
    """Why a child has ended, as an error for the caller."""
    if -status in _LIMITS:
        return CostlyImageError(
            f"The {known.name} image took too much time or memory to decode, and was stopped. "
            "Open it in an image editor and save it again, smaller or as a JPEG."
        )
    return UndecodableImageError(
        f"The {known.name} image is damaged: its decoder crashed. "
        "Check that the file opens elsewhere and was sent completely."
    )


def _say_once() -> None:
    if next(_times_said) == 0:  # atomic, for threads that decode at once
        logging.getLogger(__name__).warning(
            "This system cannot limit a process: TIFF, AVIF and HEIC are decoded without limits."
        )


_times_said = itertools.count()
_idle: list[_Child] = []  # append and pop are atomic
_of_another_process: list[_Child] = []


def _forget() -> None:
    """In a forked process: its parent's children are its parent's."""
    _of_another_process.extend(_idle)
    _idle.clear()


def _end_all() -> None:
    while _idle:
        _idle.pop().end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
atexit.register(_end_all)
