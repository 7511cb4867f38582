"""All code that runs inside the Lambda image: an event goes in, an answer comes out."""

import os

# Since 1.29, ONNX Runtime's wheels start a thread that writes a database under HOME and uploads
# events to Microsoft (its Privacy.md). It reads this variable when it is imported. So it is set
# here, since this runs before any module of this package can import it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
