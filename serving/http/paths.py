"""An API's event in, the paths that its request may mean out, the likeliest first.

Callers see more in front of a path than the service does: a stage's name, a custom domain's base
path, the route under which an API mounts the function. The event says where the service's own path
begins: its route (`resource`, or `routeKey` in payload 2.0) with the `pathParameters` filled in is
the path inside the API. Only a route of `$default` says nothing; then the stage is the one known
prefix, and of a custom domain's base path, which no field names, any number of segments.
(API Gateway developer guide, "Custom domain names for HTTP APIs" and "REST APIs".)
"""

import re
from collections.abc import Mapping
from typing import Any

_PARAMETER = re.compile(r"\{([^{}+]+)(\+?)\}")
_AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".on.aws")


def candidates(
    path: str, event: Mapping[str, Any], context: Mapping[str, Any], *, has_stage: bool
) -> tuple[str, ...]:
    """The paths that a request may mean; the service answers the first that it knows.

    Args:
        path: the event's path, with all that stands in front.
        event: the event; `context` is its requestContext.
        has_stage: whether a path outside custom domains begins with the stage's name.
    """
    route = _route(event, context)
    inside = _filled(route, event.get("pathParameters"))
    if inside == "/" or (inside and path.rstrip("/").endswith(inside.rstrip("/"))):
        return _of_route(route, inside, event.get("pathParameters"))
    stage = str(context.get("stage") or "")
    without_stage = path.removeprefix(f"/{stage}")
    found = [path]
    if stage and without_stage[:1] in ("", "/") and without_stage != path:
        # Of a custom domain's path the stage is no part, but its base path may have the same name.
        is_first = has_stage and not _is_custom(context)
        found.insert(0 if is_first else 1, without_stage or "/")
    if _is_custom(context):
        found += _tails(path)
    return tuple(dict.fromkeys(found))


def _route(event: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """The route's path, such as `/{proxy+}`; empty for `$default` and where no route is named."""
    for value in (event.get("resource"), event.get("routeKey"), context.get("resourcePath")):
        route = str(value or "").rpartition(" ")[2]  # "POST /predict", "ANY /{proxy+}"
        if route.startswith("/"):
            return route
    return ""


def _filled(route: str, parameters: Any) -> str:
    """The route with its parameters' values; empty if one is missing."""
    values = parameters if isinstance(parameters, Mapping) else {}
    if any(match[1] not in values for match in _PARAMETER.finditer(route)):
        return ""
    return _PARAMETER.sub(lambda match: str(values[match[1]]).strip("/"), route)


def _of_route(route: str, inside: str, parameters: Any) -> tuple[str, ...]:
    """A path inside an API, and what the route's own prefix leaves of it.

    `/v1/{proxy+}` mounts the service under /v1, and `/v1/predict` names one path of it.
    """
    greedy = [match[1] for match in _PARAMETER.finditer(route) if match[2]]
    if greedy:
        return inside, "/" + str(parameters[greedy[-1]]).strip("/")
    return tuple(_tails(inside))


def _tails(path: str) -> list[str]:
    """`/a/b/c` -> `/a/b/c`, `/b/c`, `/c`."""
    segments = path.split("/")[1:]
    return ["/" + "/".join(segments[start:]) for start in range(len(segments))]


def _is_custom(context: Mapping[str, Any]) -> bool:
    """Whether the request came by a domain of the API's owner."""
    domain = str(context.get("domainName") or "").lower()
    return "." in domain and not domain.endswith(_AWS_DOMAINS)
