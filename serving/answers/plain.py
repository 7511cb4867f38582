"""An answer as lines for a person at a terminal, for `Accept: text/plain`."""

from typing import Any


def render(content: Any) -> str:
    """Any JSON answer of the service as lines of text."""
    if "results" in content:
        blocks = [f"{i}. {render(result)}" for i, result in enumerate(content["results"], 1)]
        return "\n".join(blocks)
    if "predictions" in content:
        return _predictions(content)
    if "detail" in content:
        return f"{content['status']} {content['title']}: {content['detail']}\n"
    return "".join(f"{name}: {value}\n" for name, value in content.items())


def _predictions(answer: dict[str, Any]) -> str:
    because = f", {answer['unsure_because']}" if "unsure_because" in answer else ""
    heading = answer["label"] + (f" (unsure{because})" if answer["unsure"] else "")
    width = max(len(prediction["label"]) for prediction in answer["predictions"])
    lines = [
        f"  {prediction['label']:<{width}}  {prediction['probability']:7.2%}"
        for prediction in answer["predictions"]
    ]
    return "\n".join([heading, *lines]) + "\n"
