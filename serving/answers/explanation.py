"""A class activation map in, an answer's field `explanation` out.

Imported by the first request for one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pybase64 import b64encode_as_string

from serving.model.explanation import LONGEST_PX, drawn_over

_DECIMALS = 5


def of(label: str, values: NDArray[np.float32], photo: Image.Image) -> dict[str, Any]:
    """The field: where a photo shows the label.

    Args:
        label: the answer's.
        values: its map, (h, w), in logits.
        photo: from `in_grey`.
    """
    picture = b64encode_as_string(drawn_over(photo, values))
    return {
        "label": label,
        "logit": round(float(values.mean(dtype=np.float64)), _DECIMALS),
        "map": [[round(value, _DECIMALS) for value in row] for row in values.tolist()],
        "picture": f"data:image/png;base64,{picture}",
    }


def schema(label: dict[str, Any]) -> dict[str, Any]:
    """The field's JSON schema, for /openapi.json; `label` is that of a class name."""
    row = {"type": "array", "minItems": 1, "items": {"type": "number"}}
    properties: dict[str, Any] = {
        "label": label,
        "logit": {
            "type": "number",
            "description": "The label's logit, before the division by the temperature",
        },
        "map": {
            "type": "array",
            "minItems": 1,
            "items": row,
            "description": "What each part of the photo adds, from the top row to the bottom one, "
            "each from left to right; the mean is the logit",
        },
        "picture": {
            "type": "string",
            "pattern": "^data:image/png;base64,",
            "description": f"The map over the photo in grey, at most {LONGEST_PX} pixels high and "
            "wide: orange speaks for the label, blue against it",
        },
    }
    return {
        "type": "object",
        "description": "Where the photo shows the label, if `explain` is set",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
