"""References to images in, predictions out: loaded side by side, decoded and inferred one by one
on each of the vCPUs that the function has. An image that fails in a batch gets its own problem and
leaves the others alone.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.errors import OutOfTimeError, ServingError
from serving.http import sources
from serving.http.events import Request, Response
from serving.http.options import Options
from serving.http.sources import Reference
from serving.images.decode import decode_scaled
from serving.model.classifier import Classifier
from serving.model.preprocess import Preprocessor
from serving.settings import Settings

PROBLEM = "application/problem+json"  # RFC 9457
PROBLEM_TYPE = "about:blank"  # the status says what kind of problem it is

# Kept back from the invocation's remaining time for decoding, inference and the answer.
_RESERVE_S = 1.0
_PARALLEL_FETCHES = 8


@dataclass(slots=True)
class _Item:
    """One image on its way: milliseconds by stage, and where it has got to."""

    timings_ms: dict[str, float] = field(default_factory=dict)
    size_bytes: int = 0
    data: bytes = b""  # the file, until it is decoded
    error: ServingError | None = None
    probabilities: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))  # (1, C)


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
        contract, top_k_max = self._classifier.contract, self._settings.top_k_max
        options = Options.of(request, wanted.options, contract, top_k_max)
        ends_at = time.monotonic() + remaining_s - _RESERVE_S
        items = self._inferred(self._loaded(wanted.items, ends_at), len(wanted.items), ends_at)
        answers = [
            _problem_of(item.error) if item.error else self._answer(item, options) for item in items
        ]
        pairs = zip(wanted.items, items, strict=True)
        log = {"images": [self._logged(*pair) for pair in pairs]}
        if wanted.is_batch:
            return Response(HTTPStatus.OK, {"results": answers}, log=log)
        if items[0].error:
            return Response(items[0].error.status, answers[0], PROBLEM, log=log)
        return Response(HTTPStatus.OK, answers[0], log=log)

    def _loaded(
        self, references: Sequence[Reference | ServingError], ends_at: float
    ) -> Iterator[_Item]:
        """Each reference's bytes, in order; remote ones are fetched side by side."""

        def load(reference: Reference | ServingError) -> _Item:
            item = _Item()
            if isinstance(reference, ServingError):
                item.error = reference
                return item
            timeout_s = min(self._settings.fetch_timeout_s, ends_at - time.monotonic())
            with _Stage(item, "fetch"):
                item.data = self._load(reference, timeout_s=timeout_s)
            item.size_bytes = len(item.data)
            return item

        remote = sum(isinstance(r, Reference) and r.kind.is_remote for r in references)
        if remote < 2:
            yield from map(load, references)
            return
        from concurrent.futures import ThreadPoolExecutor  # only batches need it

        with ThreadPoolExecutor(min(remote, _PARALLEL_FETCHES)) as pool:
            yield from pool.map(load, references)

    def _inferred(self, items: Iterator[_Item], count: int, ends_at: float) -> list[_Item]:
        """The items, each with its probabilities or why there are none.

        Each is inferred by itself: in one inference, several take no less time for each, and more
        where their activations leave the caches. What a photo takes is half decoding, which one
        thread does: where the function has several vCPUs, each has a photo of its own. None is
        begun that the time may not be enough for, so that what is done is answered.
        """
        slowest_s = 0.0

        def infer(item: _Item) -> _Item:
            nonlocal slowest_s
            started = time.monotonic()
            if slowest_s and started + slowest_s > ends_at:
                item.error = item.error or _out_of_time()
            self._infer(item)
            slowest_s = max(slowest_s, time.monotonic() - started)
            return item

        threads = min(self._settings.inference_threads, count)
        if threads < 2:
            return list(map(infer, items))
        from concurrent.futures import ThreadPoolExecutor  # only batches need it

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(infer, items))

    def _infer(self, item: _Item) -> None:
        """Leave in an item its probabilities, or why there are none."""
        batch = self._prepared(item) if item.error is None else None
        item.data = b""
        if batch is not None:
            with _Stage(item, "inference"):
                item.probabilities = self._classifier.probabilities(self._classifier.logits(batch))

    def _prepared(self, item: _Item) -> NDArray[np.float32] | None:
        """The image as a (1, 3, H, W) batch; None where the item has an error now."""
        batch, decoded, spec = None, None, self._preprocess.spec
        with _Stage(item, "decode"):
            decoded = decode_scaled(
                item.data,
                max_pixels=self._settings.image_max_pixels,
                for_size=spec.size_px,
                close=spec.is_close,
            )
        if decoded is not None:
            with _Stage(item, "preprocess"):
                batch = self._preprocess(decoded.image, decoded.box)
        return batch

    def _answer(self, item: _Item, options: Options) -> dict[str, Any]:
        predictions = self._classifier.top_k(item.probabilities[0], options.top_k)
        return {
            "predictions": [
                {"label": p.label, "probability": round(p.probability, 6)} for p in predictions
            ],
            "label": predictions[0].label,
            "unsure": predictions[0].probability < options.unsure_below,
            "model": identity(self._classifier),
            "timings_ms": item.timings_ms,
        }

    def _logged(self, reference: Reference | ServingError, item: _Item) -> dict[str, Any]:
        """What the log tells of an image besides its answer.

        Whether it is unsure is by the contract, not by what a request asks for: the share of such
        images shows whether they are like the trained ones.
        """
        if isinstance(reference, ServingError):
            return {"kind": "unreadable"}
        facts = {"kind": reference.kind, "bytes": item.size_bytes}
        if item.error is None:
            unsure_below = self._classifier.contract.unsure_below
            facts["unsure"] = bool(item.probabilities.max() < unsure_below)
        return facts


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


def _out_of_time() -> OutOfTimeError:
    return OutOfTimeError(
        "The function's time was over before this image's turn. Send it again with fewer others."
    )


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
