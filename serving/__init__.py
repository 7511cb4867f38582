"""All that runs inside the Lambda image: an event goes in, an answer comes out."""

import os

# ONNX Runtime's wheels since 1.29 start a thread that writes a database under HOME and uploads
# events to Microsoft (its Privacy.md). It reads this once, when it is imported, so it is set here,
# where every import of it from this package comes by.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
