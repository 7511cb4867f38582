"""From a run to the files that are deployed: ONNX, int8, golden pictures, model card."""
