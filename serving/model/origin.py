"""Which model file an optimised one was made from, kept in a small JSON file beside it.

`model/classifier.onnx` has `model/classifier.onnx.json` after `serving.model.optimize` has replaced
it. The original's hash stays the model's version.
"""

import json
import re
from pathlib import Path

from serving.errors import ContractError


def path_of(model: Path) -> Path:
    """Where the origin of a model file is kept."""
    return model.with_name(f"{model.name}.json")


def write(model: Path, made_from_sha256: str) -> None:
    """Record what an optimised file was made from, a SHA-256 in hex."""
    record = {"made_from_sha256": made_from_sha256, "bytes": model.stat().st_size}
    path_of(model).write_text(json.dumps(record) + "\n", encoding="utf-8")


def read(model: Path) -> str | None:
    """The SHA-256, in hex, of the file that a model was made from; None if it is an original.

    Raises:
        ContractError: the record is damaged, or belongs to another model file.
    """
    path = path_of(model)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        made_from, size = str(record["made_from_sha256"]), record["bytes"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ContractError(f"{path} cannot be read: {error}. {_remedy(path)}") from error
    if not re.fullmatch("[0-9a-f]{64}", made_from):
        raise ContractError(f"In {path}, 'made_from_sha256' is not a SHA-256. {_remedy(path)}")
    if model.stat().st_size != size:  # hashing the whole file would slow each cold start
        raise ContractError(f"{path} belongs to another model file. {_remedy(path)}")
    return made_from


def _remedy(path: Path) -> str:
    return f"Delete {path.name} and optimise the original model again, or build the image again."
