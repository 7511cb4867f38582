"""One short line a request, for a person who watches `make serve`."""

import json
from typing import Any

from local.gateway import HttpResponse

_SHOWN_RESULTS = 5


def line(method: str, path: str, response: HttpResponse, duration_ms: float) -> str:
    """Such as `POST /predict 200 pants 99.2% 8 ms`; of an error its code in place of the label."""
    try:
        said = _said(json.loads(response.body))
    except ValueError:  # the page, or nothing
        said = ""
    shown = (text.encode("unicode_escape").decode() for text in (method[:20], path[:200]))
    words = [*shown, str(response.status), said, f"{duration_ms:.0f} ms"]
    return " ".join(word for word in words if word)


def _said(answer: Any) -> str:
    if not isinstance(answer, dict):
        return ""
    if isinstance(answer.get("results"), list):
        results = answer["results"]
        more = ["…"] if len(results) > _SHOWN_RESULTS else []
        return ", ".join([*map(_said, results[:_SHOWN_RESULTS]), *more])
    if answer.get("predictions"):
        unsure = " (unsure)" if answer.get("unsure") else ""
        return f"{answer['label']} {answer['predictions'][0]['probability']:.1%}{unsure}"
    return str(answer.get("code") or answer.get("message") or "")
