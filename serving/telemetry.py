"""What the service tells of itself: one line of JSON on standard output for each request.

Lambda sends standard output to CloudWatch Logs. Never logged: the image, a URL, a header.
"""

import json
import traceback
from typing import Any

from serving.events import Request, Response


def log_request(request: Request, response: Response, request_id: str, duration_s: float) -> None:
    """Write the request's one line: who asked, what was answered, how long it took."""
    content = response.content if isinstance(response.content, dict) else {}
    line: dict[str, Any] = {
        "level": "ERROR" if response.status >= 500 else "INFO",
        "message": "request",
        "request_id": request_id,
        "source": request.source,
        "method": request.method,
        "path": request.path[:200],
        "status": int(response.status),
        "duration_ms": round(duration_s * 1000, 2),
    }
    for name in ("code", "label", "unsure", "timings_ms"):
        if name in content:
            line[name] = content[name]
    print(json.dumps(line), flush=True)


def log_failure(request_id: str) -> None:
    """Write the traceback of the exception that is being handled, for the log alone."""
    line = {
        "level": "ERROR",
        "message": "unexpected failure",
        "request_id": request_id,
        "traceback": traceback.format_exc(),
    }
    print(json.dumps(line), flush=True)
