"""The demo page, with headers that let it run its own script and nothing else.

Imported by the first request for the page.
"""

import base64
import hashlib
import re
from http import HTTPStatus

from serving.http.events import Response

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def response(page: str, *, images: str = "blob: data:") -> Response:
    """The page with its Content-Security-Policy (CSP level 3).

    It allows the page's own inline code by hash, requests to its own origin, and images from
    `images`; by default those that the page makes itself.
    """
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, code in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(hashes['script'])}",
            f"style-src {' '.join(hashes['style'])}",
            f"img-src {images}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    headers = {
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return Response(HTTPStatus.OK, page, "text/html", headers)
