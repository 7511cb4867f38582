"""The model file: what it says of itself, its input, and how ONNX Runtime runs it."""
