"""The service described for machines: GET /openapi.json (OpenAPI 3.1).

Imported by the first request for it. The limits and class names are the running service's own.
"""

from typing import Any

from serving.errors import RemoteError, RequestError, ServingError
from serving.http.options import TOP_K_DEFAULT
from serving.images.formats import FORMATS
from serving.model.classifier import Classifier
from serving.settings import Settings

_MEDIA_TYPES = (*(known.media_type for known in FORMATS), "application/octet-stream")


def describe(settings: Settings, classifier: Classifier) -> dict[str, Any]:
    """The OpenAPI document of a running service."""
    contract = classifier.contract
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Photo classifier {contract.name}",
            "version": classifier.version.removeprefix("sha256:")[:12],
            "description": "Tells which of its classes a photo shows, and how sure it is.",
        },
        "paths": {
            "/predict": {"post": _predict(settings)},
            "/": {"get": _get("The demo page", "text/html", {"type": "string"})},
            "/health": {"get": _get("Whether the model is loaded", *_json_ref("Health"))},
            "/model": {"get": _get("What the model says of itself", *_json_ref("Contract"))},
            "/openapi.json": {
                "get": _get("This description", "application/json", {"type": "object"})
            },
        },
        "components": {
            "schemas": _schemas(settings, list(contract.classes)),
            "responses": {"Problem": _problem_response()},
        },
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json_ref(name: str) -> tuple[str, dict[str, str]]:
    return "application/json", _ref(name)


def _get(summary: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": {media_type: {"schema": schema}}},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }


def _predict(settings: Settings) -> dict[str, Any]:
    answers = {
        "application/json": {"schema": {"anyOf": [_ref("Answer"), _ref("Batch")]}},
        "text/plain": {"schema": {"type": "string"}},
    }
    problem = {"$ref": "#/components/responses/Problem"}
    return {
        "summary": "Classify one image or several",
        "description": (
            f"At most {settings.body_max_bytes:,} bytes of body, "
            f"{settings.fetch_max_bytes:,} bytes fetched, {settings.image_max_pixels:,} pixels. "
            "An image's format is read from its content, whatever its Content-Type says."
        ),
        "parameters": [
            _parameter("top_k", "How many classes to list", _top_k(settings)),
            _parameter("threshold", "Below this top probability an answer is unsure", _share()),
        ],
        "requestBody": {"required": True, "content": _bodies()},
        "responses": {
            "200": {"description": "The prediction, or one for each image", "content": answers},
            **dict.fromkeys(_predict_statuses(), problem),
        },
    }


def _predict_statuses() -> list[str]:
    """Every status that a prediction can fail with, from the error tree itself."""
    bases = (RequestError, RemoteError)  # OutOfTimeError is of a batch's images, in a 200
    leaves = [leaf for base in bases for leaf in base.__subclasses__()]
    statuses = {int(leaf.status) for leaf in leaves} - {404, 405}
    return [str(status) for status in sorted(statuses | {int(ServingError.status)})]


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "required": False,
        "schema": schema,
    }


def _top_k(settings: Settings) -> dict[str, Any]:
    return {
        "type": "integer",
        "minimum": 1,
        "maximum": settings.top_k_max,
        "default": min(TOP_K_DEFAULT, settings.top_k_max),
    }


def _share() -> dict[str, Any]:
    return {"type": "number", "minimum": 0, "maximum": 1}


def _bodies() -> dict[str, Any]:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {
        "type": "object",
        "properties": {"file": {"type": "array", "items": file}},
        "required": ["file"],
    }
    bodies: dict[str, Any] = {
        "application/json": {
            "schema": {"anyOf": [_ref("Image"), _ref("Images")]},
            "examples": {"url": {"value": {"url": "https://example.com/photo.jpg"}}},
        },
        "multipart/form-data": {"schema": form},
    }
    return bodies | {media_type: {} for media_type in _MEDIA_TYPES}


def _object(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _one_image(name: str, schema: dict[str, Any], settings: Settings) -> dict[str, Any]:
    options = {"top_k": _top_k(settings), "threshold": _share()}
    return _object({name: schema, **options}, *options)


def _schemas(settings: Settings, classes: list[str]) -> dict[str, Any]:
    text, number = {"type": "string"}, {"type": "number"}
    references: dict[str, dict[str, Any]] = {
        "url": {"type": "string", "format": "uri", "minLength": 1},
        "image": {"type": "string", "contentEncoding": "base64", "minLength": 1},
        "s3": {"type": "string", "pattern": "^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$"},
    }
    model = _object({"name": text, "version": text})
    stages = dict.fromkeys(("fetch", "decode", "preprocess", "inference"), number)
    label = {"type": "string", "enum": classes}
    prediction = _object({"label": label, "probability": _share()})
    many = {
        "type": "array",
        "minItems": 1,
        "maxItems": settings.batch_max_items,
        "items": {"oneOf": [_object({name: schema}) for name, schema in references.items()]},
    }
    return {
        "Image": {
            "oneOf": [_one_image(name, schema, settings) for name, schema in references.items()]
        },
        "Images": _one_image("images", many, settings),
        "Answer": _object(
            {
                "predictions": {"type": "array", "minItems": 1, "items": prediction},
                "label": label,
                "unsure": {"type": "boolean"},
                "model": model,
                "timings_ms": _object(stages),
            }
        ),
        "Batch": _object(
            {
                "results": {
                    "type": "array",
                    "items": {"anyOf": [_ref("Answer"), _ref("Problem")]},
                }
            }
        ),
        "Health": _object({"status": {"const": "ok"}, "model": model}),
        "Contract": {"type": "object", "required": ["version", "name", "classes", "preprocess"]},
        "Problem": _object(
            {
                "type": text,
                "title": text,
                "status": {"type": "integer"},
                "detail": text,
                "code": text,
                "request_id": text,
            },
            "request_id",
        ),
    }


def _problem_response() -> dict[str, Any]:
    return {
        "description": "A problem document (RFC 9457); `code` is stable, `detail` says what to do",
        "content": {"application/problem+json": {"schema": _ref("Problem")}},
    }
