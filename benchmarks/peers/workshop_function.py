"""The workshop's handler, rewritten: {"url": URL} in, {class: raw score} out.

It is copied into its own folder, with the packages that it needs and model.onnx, and imports
nothing from this repository.
"""

from typing import Any

import numpy as np
import onnxruntime as ort
from keras_image_helper import create_preprocessor
from numpy.typing import NDArray

CLASSES = (
    *("dress", "hat", "longsleeve", "outwear", "pants"),
    *("shirt", "shoes", "shorts", "skirt", "t-shirt"),
)


def preprocess_pytorch_style(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1, H, W, 3) of 0..255 -> (1, 3, H, W), with ImageNet's mean and deviation."""
    scaled = pixels / 255.0
    mean = np.array([0.485, 0.456, 0.406]).reshape(1, 1, 1, 3)
    deviation = np.array([0.229, 0.224, 0.225]).reshape(1, 1, 1, 3)
    batch: NDArray[np.float32] = (
        ((scaled - mean) / deviation).transpose(0, 3, 1, 2).astype(np.float32)
    )
    return batch


preprocessor = create_preprocessor(preprocess_pytorch_style, target_size=(224, 224))
session = ort.InferenceSession("model.onnx")
input_name = session.get_inputs()[0].name
output_name = session.get_outputs()[0].name


def lambda_handler(event: Any, context: Any) -> dict[str, float]:
    """Fetch the picture that the event names, and score it."""
    batch = preprocessor.from_url(event["url"])
    scores = session.run([output_name], {input_name: batch})[0][0]
    return dict(zip(CLASSES, scores.tolist(), strict=False))
