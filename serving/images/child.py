"""The child process: takes files from its standard input and answers with their pixels.

It limits itself: its memory, once, and its CPU time, for each file. Whatever the libraries do then,
the system ends this process, which the parent (serving/images/confined.py) tells from a crash. It
is started by its path, without Python's site module, and given the parent's module path.

A question is its head, JSON, and a file; an answer is its head, JSON, and RGB pixels. Before them
stand their two lengths in bytes, 4 bytes each, big-endian.
"""

import json
import os
import signal
import struct
import sys

LENGTHS = struct.Struct(">II")
# Of address space over what the child has at its start; with the child itself and the parent's
# copy of the file, a request stays below 400 MB.
MEMORY_BYTES = 310_000_000
# The profiling timer ends the process first. The kernel's own limit counts whole seconds and stands
# behind it.
_SECONDS_BEHIND = 2
_MOST_OPEN_FILES = 64
# A library that keeps more than this would leave the next file too little: the child then ends.
_KEPT_BYTES = 50_000_000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _limit_for_good() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_OPEN_FILES, _MOST_OPEN_FILES))
    if used_bytes := _address_space_bytes():
        most_bytes = used_bytes + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


def _address_space_bytes() -> int:
    """What this process has of it; 0 on macOS, which does not keep to the limit either."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - no pathlib here
            return int(statm.read().split()[0]) * _PAGE_BYTES
    except OSError:
        return 0


def _limit_next(cpu_s: float) -> None:
    """End this process when it takes more than this CPU time from now on."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    most_s = int(used.ru_utime + used.ru_stime + cpu_s) + _SECONDS_BEHIND
    resource.setrlimit(resource.RLIMIT_CPU, (most_s, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    signal.setitimer(signal.ITIMER_PROF, cpu_s)


def _answer(question: dict[str, object], data: bytes) -> tuple[dict[str, object], bytes]:
    from serving.errors import RequestError
    from serving.images.formats import named
    from serving.images.reading import Wanted, read

    wanted = question["wanted"]
    if not isinstance(wanted, dict):
        raise TypeError("wanted is an object")
    for name in ("for_size", "levels"):
        if isinstance(wanted[name], list):
            wanted[name] = tuple(wanted[name])
    try:
        found = read(data, named(str(question["format"])), Wanted(**wanted))
    except RequestError as error:
        return {"code": error.code, "detail": error.detail}, b""
    facts = {
        "size": found.image.size,
        "mode": found.mode,
        "file_px": found.file_px,
        "orientation": found.orientation,
    }
    return facts, found.image.tobytes()


def _serve() -> None:
    from serving.images.formats import import_plugin, named

    used_bytes = _address_space_bytes()
    given, taken = sys.stdin.buffer, sys.stdout.buffer
    while lengths := given.read(LENGTHS.size):  # nothing: the parent has ended
        head_bytes, data_bytes = LENGTHS.unpack(lengths)
        question = json.loads(given.read(head_bytes))
        data = given.read(data_bytes)
        _limit_next(question["cpu_s"])
        before_bytes = _address_space_bytes()
        import_plugin(named(question["format"]))  # a library stays, which is meant
        used_bytes += _address_space_bytes() - before_bytes
        facts, pixels = _answer(question, data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        facts["is_last"] = _address_space_bytes() > used_bytes + _KEPT_BYTES
        head = json.dumps(facts).encode()
        taken.write(LENGTHS.pack(len(head), len(pixels)) + head)
        taken.write(pixels)
        taken.flush()
        if facts["is_last"]:
            return
        del data, pixels  # while it waits, a child keeps no picture


if __name__ == "__main__":
    sys.path[:] = sys.argv[1:]
    import serving.images.reading  # noqa: F401 - before the limit, which counts from here

    _limit_for_good()
    try:
        _serve()
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)  # as other limits end it
