"""GET /openapi.json describes the service that is running."""

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from serving import errors


@pytest.fixture
def document(call):
    return call("GET", "/openapi.json").json


def test_the_description_is_valid_openapi_3_1(document):
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")


def test_every_route_is_described(document, app):
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    assert described == set(app._routes)


def test_answers_are_as_described(document, call, red_jpeg):
    from openapi_schema_validator import OAS31Validator

    def check(name, value):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        OAS31Validator(schema).validate(value)

    answer = call(body=red_jpeg).json
    check("Answer", answer)
    check("Problem", call(body=b"junk").json)
    check("Health", call("GET", "/health").json)
    check("Contract", call("GET", "/model").json)
    check("Image", {"url": "https://example.com/a.jpg", "top_k": 1})
    check("Images", {"images": [{"url": "https://example.com/"}, {"image": "eA=="}]})
    batch = call(body=b'{"images": [{"image": "eA=="}]}').json
    check("Batch", {"results": [answer, *batch["results"]]})


def test_a_predictions_failures_are_those_of_the_error_tree(document):
    described = set(document["paths"]["/predict"]["post"]["responses"])
    leaves = [
        leaf for base in (errors.RequestError, errors.RemoteError) for leaf in base.__subclasses__()
    ]
    assert {str(int(leaf.status)) for leaf in leaves} - {"404", "405"} <= described


def test_the_limits_are_those_of_the_settings(document):
    (top_k, threshold, explain) = document["paths"]["/predict"]["post"]["parameters"]
    assert (top_k["schema"]["maximum"], threshold["schema"]["maximum"]) == (20, 1)
    assert explain["schema"]["default"] is False
    images = document["components"]["schemas"]["Images"]["properties"]["images"]
    assert images["maxItems"] == 16
