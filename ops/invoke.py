"""`make invoke FUNCTION=… IMAGE=…`: sends a photo to a function and prints the answer."""

import argparse
import base64
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ops import aws

_MAX_BYTES = 4_500_000  # the service's BODY_MAX_BYTES; in base64 it fits a 6 MB event


def invoke(functions: Any, function: str, photo: Path) -> tuple[int, str]:
    """The exit status, and the answer as JSON text.

    Raises:
        OSError, ValueError: the photo cannot be read, or is too large for an event.
    """
    image = photo.read_bytes()
    if len(image) > _MAX_BYTES:
        raise ValueError(f"{photo} has {len(image):,} bytes; the limit is {_MAX_BYTES:,}.")
    event = {"image": base64.b64encode(image).decode()}
    done = functions.invoke(FunctionName=function, Payload=json.dumps(event).encode())
    answer = json.loads(done["Payload"].read())
    is_prediction = (
        "FunctionError" not in done and isinstance(answer, dict) and "predictions" in answer
    )
    return 0 if is_prediction else 1, json.dumps(answer, indent=2, ensure_ascii=False)


def main(words: Sequence[str] | None = None) -> int:
    """Invoke, print, and return the exit status: 0 for a prediction, 1 for anything else."""
    parser = argparse.ArgumentParser("ops.invoke", description=__doc__)
    parser.add_argument("function", help="the stack's output FunctionName; NAME:live is the alias")
    parser.add_argument("photo", type=Path)
    arguments = parser.parse_args(words)

    def tool() -> int:
        status, answer = invoke(aws.client("lambda"), arguments.function, arguments.photo)
        print(answer)
        return status

    return aws.run(tool)


if __name__ == "__main__":
    sys.exit(main())
