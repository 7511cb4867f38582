"""A file's name in, the same name as text that can be printed and written out."""

import os
from pathlib import Path


def shown(path: Path) -> str:
    r"""The path with slashes; what of it is not UTF-8 as \xNN.

    Python holds such bytes as surrogates, which no file or terminal takes.
    """
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
