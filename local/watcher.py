"""Ends the emulator's session when `local` is gone, also if it was killed; emulator.py runs it.

Standard input is a pipe that only `local` holds open, and that the system closes with it.
"""

import os
import signal
import sys
from pathlib import Path


def session_members(leader: int) -> list[int]:
    """The other processes of the session that `leader` leads (proc(5): Linux only)."""
    members = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != leader:
            try:
                if os.getsid(int(folder.name)) == leader:
                    members.append(int(folder.name))
            except (ProcessLookupError, PermissionError):
                continue
    return members


def main() -> None:
    """Wait for the end of standard input, then kill the session that the argument leads."""
    leader = int(sys.argv[1])
    sys.stdin.buffer.read()
    for pid in [*session_members(leader), leader]:
        try:
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
