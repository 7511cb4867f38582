"""Starting weights: a file, or a library's own download; both are checked before they are used.

file         a state dict that torch or safetensors wrote, also inside a training's checkpoint
download     torchvision's file, whose name holds the beginning of its SHA-256, or timm's
"""

import argparse
import hashlib
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision import models

from train.errors import UsageError

DEFAULT, NONE = "default", "none"

State = Mapping[str, Tensor]

# Where trainings put the network in a checkpoint, the averaged weights first: they are the better.
_WRAPPERS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict",
    "model", "module", "net", "network", "weights", "checkpoint",
)  # fmt: skip

# What wrappers of torch put before each name: DataParallel, torch.compile, a module's attribute.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")

# Harmless classes that lie beside the weights in many checkpoints: command lines, NumPy's scalars.
_SCALAR = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(code)) for code in "?ilqfd"),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]

# What a download may end in, as libraries raise it.
_FAILED = (
    URLError, OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError,
)  # fmt: skip

# What the averages of torch and of batch-norm count beside the weights.
_COUNTERS = frozenset({"n_averaged"})


def read_state_dict(file: Path) -> State:
    """The tensors of a file that torch or safetensors wrote, by the network's own names.

    Raises:
        UsageError: it is missing, no such file, or has no tensors by name.
    """
    if not file.is_file():
        raise UsageError(f"--weights {file} is neither a file, nor `default`, nor `none`.")
    state = _unwrapped(_read(file))
    if isinstance(state, Mapping) and "format" in state and "manifest_sha256" in state:
        raise UsageError(f"--weights {file} is a run's checkpoint: --start {file.parent} takes it.")
    if not _is_state(state):
        raise UsageError(f"--weights {file} does not contain a state dict (tensors by name).")
    return _without_prefixes({k: v for k, v in state.items() if k not in _COUNTERS})


def _read(file: Path) -> Any:
    try:
        with file.open("rb") as opened:
            start = opened.read(512)
        if start[8:9] == b"{":  # a header of JSON, after its length in 8 bytes
            return load_file(file)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # about old files and their pickle protocol
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"--weights {file} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a damaged pickle may raise anything
        raise UsageError(
            f"--weights {file} is not a state-dict file that torch or safetensors can read"
            f"{_likely_cause(start, error)}."
        ) from error


def _likely_cause(start: bytes, error: Exception) -> str:
    if start.lstrip()[:1] == b"<":
        return ": it is a web page, such as a proxy's; download the weights again"
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found:
        return (
            f": it holds {found[1]}, a Python object, which could run code; save the weights "
            "only, torch.save(model.state_dict(), FILE)"
        )
    return "" if isinstance(error, SafetensorError) else "; it may be damaged or cut short"


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(each, Tensor) for each in value.values())
    )


def _unwrapped(value: Any) -> Any:
    """The state dict inside a checkpoint, however deep it lies; `value` if there is none."""
    while isinstance(value, Mapping) and not _is_state(value):
        inside = next((value[n] for n in _WRAPPERS if isinstance(value.get(n), Mapping)), None)
        if inside is None or "manifest_sha256" in value:
            return value
        value = inside
    return value


def _without_prefixes(state: State) -> State:
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def downloaded(name: str) -> State:
    """torchvision's own weights, from its cache or the internet; their hash is checked.

    Raises:
        UsageError: they cannot be downloaded, or what came is not the file; it is not kept.
    """
    entry = models.get_model_weights(name).DEFAULT
    forget_damaged(entry.url)
    with downloading(name):
        state: State = entry.get_state_dict(progress=True, check_hash=True)
    return state


def forget_damaged(url: str) -> None:
    """Delete torch's cached download of a URL if it does not have the hash in its name."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    named = re.search(r"-([a-f0-9]+)\.", file.name)
    if named and file.is_file() and not _sha256(file).startswith(named[1]):
        print(f"{file} is not the file that its name says: it is downloaded again.")
        file.unlink()


@contextmanager
def downloading(name: str) -> Iterator[None]:
    """Turn a failed download of a backbone's weights into a UsageError that names the way out."""
    try:
        yield
    except _FAILED as error:
        if "hash" in str(error):
            raise UsageError(
                f"The download of {name}'s weights is not the file that it should be "
                f"({last_line(error)}): a proxy or its sign-in page may have answered. It was not "
                "kept. Try again, or give a state-dict file: --weights FILE."
            ) from error
        raise UsageError(
            f"The weights of {name} cannot be downloaded ({last_line(error)}). "
            "Without internet access, give a state-dict file: --weights FILE."
        ) from error


def require_intact(repository: str, folder: Path) -> None:
    """Compare the files of a Hugging Face cache with the SHA-256 that they are named after.

    Raises:
        RuntimeError: one is another file; it is deleted.
    """
    for blob in (folder / f"models--{repository.replace('/', '--')}" / "blobs").glob("*"):
        is_sha256 = re.fullmatch(r"[0-9a-f]{64}", blob.name)  # small files have git's hash
        if is_sha256 and _sha256(blob) != blob.name:
            blob.unlink()
            raise RuntimeError(f"invalid hash value of {blob}")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def does_not_fit(weights: str, name: str, error: Exception) -> UsageError:
    """The error of weights whose names or shapes are not the network's."""
    return UsageError(f"--weights {weights} does not fit {name}: {last_line(error)}")


def unsupported(backbone: str, given: str, error: Exception) -> UsageError:
    """The error of an input size that the backbone does not support."""
    return UsageError(
        f"{backbone} does not support {given}: {last_line(error)} Try the size of its "
        "pre-training, often 224."
    )


def last_line(error: Exception) -> str:
    """The end of a library's message."""
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else repr(error)
