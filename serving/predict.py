"""References to images in, predictions out: loaded side by side, decoded one by one, inferred a
few at once. An image that fails in a batch gets its own problem and leaves the others alone.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving import image, sources
from serving.classifier import Classifier
from serving.errors import InvalidRequestError, ServingError
from serving.events import Request, Response
from serving.preprocess import Preprocessor
from serving.settings import Settings
from serving.sources import Reference

TOP_K_DEFAULT = 5
PROBLEM = "application/problem+json"  # RFC 9457
PROBLEM_TYPE = "about:blank"  # the status says what kind of problem it is

# Kept back from the invocation's remaining time for decoding, inference and the answer.
_RESERVE_S = 1.0
_PARALLEL_FETCHES = 8

# On one thread ONNX Runtime takes as long for each image of 4 as for one alone, and 15 % longer for
# each of 16 (MobileNetV2 at 192, float32), whose activations leave the caches and stay allocated.
_INFERRED_TOGETHER = 4


@dataclass(frozen=True, slots=True)
class Options:
    """How many classes an answer lists, and below which probability it is `unsure`."""

    top_k: int
    unsure_below: float


@dataclass(slots=True)
class _Item:
    """One image on its way: milliseconds by stage, and where it has got to."""

    timings_ms: dict[str, float] = field(default_factory=dict)
    size_bytes: int = 0
    error: ServingError | None = None
    batch: NDArray[np.float32] | None = None  # (1, 3, H, W)


class Predictor:
    """Answers prediction requests with a loaded classifier. Safe to call from several threads."""

    def __init__(self, classifier: Classifier, settings: Settings, loader: sources.Loader) -> None:
        self._classifier = classifier
        self._settings = settings
        self._load = loader
        self._preprocess = Preprocessor(classifier.contract.preprocess)

    def __call__(self, request: Request, *, remaining_s: float = math.inf) -> Response:
        """Predict what a request's images show.

        Args:
            request: of any source, with any kind of reference.
            remaining_s: seconds until the invocation is ended.

        Raises:
            ServingError: the request as a whole cannot be answered.
        """
        wanted = sources.read(request, self._settings)
        options = self._options(request, wanted.options)
        ends_at = time.monotonic() + remaining_s - _RESERVE_S
        items = [self._prepared(data) for data in self._loaded(wanted.items, ends_at)]
        ready = [item for item in items if item.batch is not None]
        probabilities = iter(self._probabilities(ready))
        answers = [
            _problem_of(item.error)
            if item.error
            else self._answer(item, next(probabilities), options)
            for item in items
        ]
        log = {"images": [_logged(*pair) for pair in zip(wanted.items, items, strict=True)]}
        if wanted.is_batch:
            return Response(HTTPStatus.OK, {"results": answers}, log=log)
        if items[0].error:
            return Response(items[0].error.status, answers[0], PROBLEM, log=log)
        return Response(HTTPStatus.OK, answers[0], log=log)

    def _loaded(
        self, references: Sequence[Reference | ServingError], ends_at: float
    ) -> Iterator[tuple[_Item, bytes]]:
        """Each reference's bytes, in order; remote ones are fetched side by side."""

        def load(reference: Reference | ServingError) -> tuple[_Item, bytes]:
            item, data = _Item(), b""
            if isinstance(reference, ServingError):
                item.error = reference
                return item, data
            timeout_s = min(self._settings.fetch_timeout_s, ends_at - time.monotonic())
            with _Stage(item, "fetch"):
                data = self._load(reference, timeout_s=timeout_s)
            item.size_bytes = len(data)
            return item, data

        remote = sum(isinstance(r, Reference) and r.kind.is_remote for r in references)
        if remote < 2:
            yield from map(load, references)
            return
        from concurrent.futures import ThreadPoolExecutor  # only batches need it

        with ThreadPoolExecutor(min(remote, _PARALLEL_FETCHES)) as pool:
            yield from pool.map(load, references)

    def _prepared(self, loaded: tuple[_Item, bytes]) -> _Item:
        item, data = loaded
        max_pixels, for_size = self._settings.image_max_pixels, self._preprocess.spec.size_px
        if item.error is None:
            with _Stage(item, "decode"):
                picture = image.decode(data, max_pixels=max_pixels, for_size=for_size)
        if item.error is None:
            with _Stage(item, "preprocess"):
                item.batch = self._preprocess(picture)
        return item

    def _probabilities(self, items: Sequence[_Item]) -> NDArray[np.float64]:
        """(N, C) probabilities of N prepared items."""
        if not items:
            return np.empty((0, len(self._classifier.contract.classes)))
        started = time.perf_counter()
        batches = [item.batch for item in items if item.batch is not None]  # (1, 3, H, W) each
        logits = [
            self._classifier.logits(_joined(batches[start : start + _INFERRED_TOGETHER]))
            for start in range(0, len(batches), _INFERRED_TOGETHER)
        ]
        probabilities = self._classifier.probabilities(_joined(logits))
        share_ms = round((time.perf_counter() - started) * 1000 / len(items), 2)
        for item in items:
            item.timings_ms["inference"] = share_ms
        return probabilities

    def _answer(
        self, item: _Item, probabilities: NDArray[np.float64], options: Options
    ) -> dict[str, Any]:
        predictions = self._classifier.top_k(probabilities, options.top_k)
        return {
            "predictions": [
                {"label": p.label, "probability": round(p.probability, 6)} for p in predictions
            ],
            "label": predictions[0].label,
            "unsure": predictions[0].probability < options.unsure_below,
            "model": identity(self._classifier),
            "timings_ms": item.timings_ms,
        }

    def _options(self, request: Request, in_body: Mapping[str, Any]) -> Options:
        """Options of the query string; where it has none, those of the body. Both must be right."""
        contract = self._classifier.contract
        top_k, unsure_below = TOP_K_DEFAULT, contract.unsure_below
        in_query = {n: request.query[n][-1] for n in sources.OPTIONS if request.query.get(n)}
        for given in (in_body, in_query):
            if "top_k" in given:
                top_k = _top_k(given["top_k"], self._settings.top_k_max)
            if "threshold" in given:
                unsure_below = _threshold(given["threshold"])
        return Options(min(top_k, len(contract.classes)), unsure_below)


def identity(classifier: Classifier) -> dict[str, str]:
    """The model's name and version, as every answer states them."""
    return {"name": classifier.contract.name, "version": classifier.version}


def problem(status: HTTPStatus, code: str, detail: str) -> dict[str, Any]:
    """A problem document (RFC 9457)."""
    return {
        "type": PROBLEM_TYPE,
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code,
    }


def _problem_of(error: ServingError) -> dict[str, Any]:
    return problem(error.status, error.code, error.detail)


def _joined(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Arrays one after another along the first axis; a single one is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


class _Stage:
    """Times one stage of one item, and keeps an error that the item must answer with."""

    def __init__(self, item: _Item, name: str) -> None:
        self._item, self._name = item, name

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        duration_ms = (time.perf_counter() - self._started) * 1000
        self._item.timings_ms[self._name] = round(duration_ms, 2)
        if isinstance(error, ServingError):
            self._item.error = error
            return True
        return False


def _logged(reference: Reference | ServingError, item: _Item) -> dict[str, Any]:
    if isinstance(reference, ServingError):
        return {"kind": "unreadable"}
    return {"kind": reference.kind, "bytes": item.size_bytes}


def _top_k(value: Any, largest: int) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise InvalidRequestError(
            f"'top_k' is {_shown(value)}; it must be a whole number between 1 and {largest}."
        )
    return value


def _threshold(value: Any) -> float:
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = None
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not 0 <= number <= 1:
        raise InvalidRequestError(
            f"'threshold' is {_shown(value)}; it must be a number between 0 and 1."
        )
    return float(number)


def _shown(value: Any) -> str:
    return json.dumps(value)[:40]
