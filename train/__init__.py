"""From class folders of photos to `model/classifier.onnx`: `python -m train VERB`."""
