"""From class folders of photos to `model/classifier.onnx`: `python -m train VERB`."""

import serving as serving  # turns ONNX Runtime's telemetry off, before anything imports that
