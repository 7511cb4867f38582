"""The service behind stages, base paths and routes: the events of every payload format there."""

from tests.invocations import event

AWS = "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com"
OWN = "api.example.com"

# kind, what the event says (path, route, parameters, stage, domain) -> the path that is answered
PLACES = {
    "REST": ("rest_api_v1", "/predict", "/{proxy+}", {"proxy": "predict"}, "prod", AWS),
    "REST, base path": ("rest_api_v1", "/v1/predict", "/{proxy+}", {"proxy": "predict"}, "p", OWN),
    "REST, base path of two levels": (
        *("rest_api_v1", "/shop/v1/predict", "/{proxy+}", {"proxy": "predict"}, "prod", OWN),
    ),
    "REST, base path and a resource": ("rest_api_v1", "/v1/predict", "/predict", None, "prod", OWN),
    "REST, base path named as a route": (
        *("rest_api_v1", "/predict/predict", "/predict", None, "prod", OWN),
    ),
    "REST, base path and stage": (
        *("rest_api_v1", "/svc/prod/predict", "/{proxy+}", {"proxy": "predict"}, "prod", OWN),
    ),
    "REST, mounted under a resource": (
        *("rest_api_v1", "/photos/predict", "/photos/{proxy+}", {"proxy": "predict"}, "p", AWS),
    ),
    "REST, resource below another": (
        *("rest_api_v1", "/photos/predict", "/photos/predict", None, "prod", AWS),
    ),
    "REST, a parameter": ("rest_api_v1", "/predict", "/{action}", {"action": "predict"}, "p", AWS),
    "REST, a parameter in front": (
        *("rest_api_v1", "/acme/predict", "/{tenant}/predict", {"tenant": "acme"}, "p", AWS),
    ),
    "REST without parameters": ("rest_api_v1", "/predict", "/{proxy+}", None, "prod", AWS),
    "REST without a route": ("rest_api_v1", "/predict", None, None, "prod", AWS),
    "REST without a route, base path": ("rest_api_v1", "/v1/predict", None, None, "prod", OWN),
    "HTTP 1.0": ("http_api_v1", "/predict", "$default", None, "$default", AWS),
    "HTTP 1.0, stage": ("http_api_v1", "/dev/predict", "$default", None, "dev", AWS),
    "HTTP 1.0, stage and route": (
        *("http_api_v1", "/dev/predict", "/{proxy+}", {"proxy": "predict"}, "dev", AWS),
    ),
    "HTTP 1.0, base path": ("http_api_v1", "/v1/predict", "$default", None, "$default", OWN),
    "HTTP 2.0": ("http_api_v2", "/predict", "$default", None, "$default", AWS),
    "HTTP 2.0, stage": ("http_api_v2", "/prod/predict", "$default", None, "prod", AWS),
    "HTTP 2.0, stage named as a route": (
        "http_api_v2",
        "/model/predict",
        "$default",
        None,
        "model",
        AWS,
    ),
    "HTTP 2.0, stage and route": ("http_api_v2", "/dev/predict", "POST /predict", None, "dev", AWS),
    "HTTP 2.0, stage and parameters": (
        *("http_api_v2", "/dev/predict", "ANY /{proxy+}", {"proxy": "predict"}, "dev", AWS),
    ),
    "HTTP 2.0, mounted": (
        *("http_api_v2", "/dev/p/predict", "ANY /p/{proxy+}", {"proxy": "predict"}, "dev", AWS),
    ),
    "HTTP 2.0, base path": ("http_api_v2", "/v1/predict", "$default", None, "$default", OWN),
    "HTTP 2.0, base path and route": (
        "http_api_v2",
        "/v1/predict",
        "POST /predict",
        None,
        "dev",
        OWN,
    ),
    "HTTP 2.0, base path and parameters": (
        *("http_api_v2", "/v1/predict", "ANY /{proxy+}", {"proxy": "predict"}, "dev", OWN),
    ),
    "HTTP 2.0, base path of two levels": (
        "http_api_v2",
        "/a/b/predict",
        "$default",
        None,
        "d",
        OWN,
    ),
    "HTTP 2.0, base path named as the stage": (
        *("http_api_v2", "/dev/predict", "$default", None, "dev", OWN),
    ),
    "function URL": ("function_url", "/predict", "$default", None, "$default", None),
}


def placed(place, method="POST", to="/predict", **parts):
    """The event of one of PLACES, its path leading to another of the service's."""
    kind, path, route, parameters, stage, domain = PLACES[place]
    to = to[1:]

    def moved(text):
        return text and (text[: -len("predict")] + to if text.endswith("predict") else text)

    made = event(kind, method, moved(path), **parts)
    parameters = parameters and {name: moved(value) for name, value in parameters.items()}
    made |= {"pathParameters": parameters}
    context = made["requestContext"]
    context["stage"] = stage
    context["domainName"] = domain or context["domainName"]
    if kind.endswith("v2"):
        made["routeKey"] = context["routeKey"] = moved(route)
    else:
        made["resource"] = context["resourcePath"] = moved(route)
    return made
