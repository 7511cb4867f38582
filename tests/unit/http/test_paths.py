"""The service's own path is found behind stages, base paths and routes, in every payload format."""

import pytest

from serving.http import events
from tests.invocations import event
from tests.mounts import AWS, OWN, PLACES, placed


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/health", 200), ("GET", "/openapi.json", 200), ("GET", "/predict", 405)],
)
def test_a_path_is_found_wherever_the_service_is_mounted(app, place, method, path, status):
    assert app.handle(placed(place, method, path), "request-1")["statusCode"] == status


@pytest.mark.parametrize("place", PLACES)
def test_an_unknown_path_stays_unknown_wherever_it_is_mounted(app, place):
    assert app.handle(placed(place, "GET", "/nowhere"), "request-1")["statusCode"] == 404


@pytest.mark.parametrize(
    ("kind", "path", "stage", "route", "domain"),
    [
        ("rest_api_v1", "/", "prod", "/", AWS),
        ("rest_api_v1", "/v1", "prod", "/", OWN),
        ("rest_api_v1", "/v1/", "prod", "/", OWN),
        ("rest_api_v1", "/model", "prod", "/", OWN),  # a base path that is called like a path
        ("http_api_v2", "/prod", "prod", "$default", AWS),
        ("http_api_v2", "/prod/", "prod", "$default", AWS),
        ("http_api_v2", "/model", "model", "$default", AWS),
        ("http_api_v1", "/dev/", "dev", "$default", AWS),
        ("http_api_v2", "/v1", "prod", "GET /", OWN),
    ],
)
def test_the_root_is_found_behind_a_stage_and_a_base_path(kind, path, stage, route, domain):
    made = event(kind, "GET", path) | {"resource": route, "routeKey": route, "pathParameters": None}
    made["requestContext"] |= {"stage": stage, "resourcePath": route, "domainName": domain}
    assert events.read(made).path == "/"


@pytest.mark.parametrize(
    ("kind", "path", "stage"),
    [
        ("http_api_v2", "/production/predict", "prod"),
        ("http_api_v2", "/nowhere/predict", "$default"),
        ("rest_api_v1", "/nowhere/predict", "prod"),
        ("function_url", "/nowhere/predict", "$default"),
        ("alb", "/nowhere/predict", None),
        ("http_api_v2", "/predict/nowhere", "predict"),
    ],
)
def test_a_path_that_only_ends_like_one_of_ours_is_unknown(app, kind, path, stage):
    made = event(kind, "POST", path)
    made["requestContext"]["stage"] = stage
    assert app.handle(made, "request-1")["statusCode"] == 404
