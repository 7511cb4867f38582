"""GET /openapi.json: the running service, its limits and its class names, as OpenAPI 3.1.

Imported by the first request for it.
"""

from typing import Any

from serving.answers import explanation, problems
from serving.errors import RemoteError, RequestError, ServingError
from serving.http import options, sources
from serving.images.formats import FORMATS
from serving.model.classifier import Classifier
from serving.model.contract import Contract
from serving.settings import Settings

_MEDIA_TYPES = (*(known.media_type for known in FORMATS), "application/octet-stream")
_FAMILIARITY = (
    "The share of validation photos that were less like the training photos than this one"
)
_PROBLEM = {"$ref": "#/components/responses/Problem"}


def describe(settings: Settings, classifier: Classifier) -> dict[str, Any]:
    """The OpenAPI document of a running service."""
    contract = classifier.contract
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Photo classifier {contract.name}",
            "version": classifier.version.removeprefix("sha256:")[:12],
            "description": "Says which of its classes a photo shows, and how sure it is.",
        },
        "paths": {
            "/predict": {"post": _predict(settings)},
            "/": {"get": _get("The demo page", "text/html", {"type": "string"})},
            "/health": {"get": _get("Whether the model is loaded", *_json_ref("Health"))},
            "/model": {"get": _get("The model's contract", *_json_ref("Contract"))},
            "/openapi.json": {
                "get": _get("This description", "application/json", {"type": "object"})
            },
        },
        "components": {
            "schemas": _schemas(settings, contract),
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
            "default": _PROBLEM,
        },
    }


def _predict(settings: Settings) -> dict[str, Any]:
    answers = {
        "application/json": {"schema": {"anyOf": [_ref("Answer"), _ref("Batch")]}},
        "text/plain": {"schema": {"type": "string"}},
    }
    return {
        "summary": "Classify one image or several",
        "description": (
            f"At most {settings.body_max_bytes:,} bytes of body, "
            f"{settings.fetch_max_bytes:,} bytes fetched, {settings.image_max_pixels:,} pixels. "
            "An image's format is read from its content, whatever its Content-Type says."
        ),
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in options.schemas(settings).items()
        ],
        "requestBody": {"required": True, "content": _bodies()},
        "responses": {
            "200": {"description": "The prediction, or one for each image", "content": answers},
            **dict.fromkeys(_predict_statuses(), _PROBLEM),
        },
    }


def _predict_statuses() -> list[str]:
    """Every status that a prediction can fail with, from the error tree itself."""
    bases = (RequestError, RemoteError)  # an OutOfTimeError is inside a batch's 200
    leaves = [leaf for base in bases for leaf in base.__subclasses__()]
    statuses = {int(leaf.status) for leaf in leaves} - {404, 405}
    return [str(status) for status in sorted(statuses | {int(ServingError.status)})]


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


def _schemas(settings: Settings, contract: Contract) -> dict[str, Any]:
    model = _object({"name": {"type": "string"}, "version": {"type": "string"}})
    return {
        **_request_schemas(settings),
        "Answer": _answer(contract, model),
        "Batch": _object(
            {"results": {"type": "array", "items": {"anyOf": [_ref("Answer"), _ref("Problem")]}}}
        ),
        "Health": _object({"status": {"const": "ok"}, "model": model}),
        "Contract": {"type": "object", "required": ["version", "name", "classes", "preprocess"]},
        "Problem": problems.schema(),
    }


def _request_schemas(settings: Settings) -> dict[str, Any]:
    chosen = options.schemas(settings)
    images = {
        "type": "array",
        "minItems": 1,
        "maxItems": settings.batch_max_items,
        "items": {"oneOf": [_object({name: schema}) for name, schema in sources.SCHEMAS.items()]},
    }
    return {
        "Image": {
            "oneOf": [
                _object({name: schema, **chosen}, *chosen)
                for name, schema in sources.SCHEMAS.items()
            ]
        },
        "Images": _object({"images": images, **chosen}, *chosen),
    }


def _answer(contract: Contract, model: dict[str, Any]) -> dict[str, Any]:
    """The schema of what serving/predict.py answers for one image."""
    label = {"type": "string", "enum": list(contract.classes)}
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    prediction = _object({"label": label, "probability": probability})
    share = {"type": "number", "minimum": 0, "maximum": 1, "description": _FAMILIARITY}
    because = {
        "type": "string",
        "enum": ["unfamiliar", "undecided"],
        "description": "Why the answer is unsure: the photo is unlike those that the model learnt "
        "from, or no class is likely enough",
    }
    stages = ("fetch", "decode", "preprocess", "inference", "explain")
    timings = _object({stage: {"type": "number"} for stage in stages}, "explain")
    return _object(
        {
            "predictions": {"type": "array", "minItems": 1, "items": prediction},
            "label": label,
            "unsure": {"type": "boolean"},
            "unsure_because": because,
            **({"familiarity": share} if contract.familiarity else {}),
            "explanation": explanation.schema(label),
            "model": model,
            "timings_ms": timings,
        },
        "unsure_because",
        "explanation",
    )


def _problem_response() -> dict[str, Any]:
    return {
        "description": "A problem document (RFC 9457); `code` is stable, `detail` says what to do",
        "content": {problems.MEDIA_TYPE: {"schema": _ref("Problem")}},
    }
