"""References to images in, predictions out.

Several images are fetched at once; each of the function's vCPUs decodes and infers one image at a
time. An image that fails in a batch gets its own problem and does not affect the others.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.answers import problems
from serving.errors import OutOfTimeError, ServingError
from serving.http import sources
from serving.http.events import Request, Response
from serving.http.options import Options
from serving.http.sources import Reference
from serving.images.decode import decode_scaled
from serving.model.classifier import Classifier, Prediction
from serving.model.explanation import in_grey
from serving.model.preprocess import Preprocessor
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.keep import Keeper

# Kept from the invocation's remaining time for decoding, inference and the answer.
_RESERVE_S = 1.0
_PARALLEL_FETCHES = 8
# Why an answer is `unsure`: the photo is unlike those of training, or no class is likely enough.
UNFAMILIAR, UNDECIDED = "unfamiliar", "undecided"
_UNREADABLE = "unreadable"  # in the log, the kind of a malformed reference


@dataclass(slots=True)
class _Item:
    """One image of a request: from its reference to its predictions, or to its error."""

    kind: str
    timings_ms: dict[str, float] = field(default_factory=dict)  # by stage
    size_bytes: int = 0
    data: bytes = b""  # the file, until it is decoded
    error: ServingError | None = None
    failure: Exception | None = None  # what nobody expected; the caller is told `error`
    predictions: list[Prediction] = field(default_factory=list)  # the most likely first
    familiarity: float | None = None  # None if the model does not compute it
    photo: Image.Image | None = None  # small, to draw the explanation over
    explanation: dict[str, Any] | None = None  # None if it was not asked for


class Predictor:
    """Answers prediction requests with a loaded classifier. Safe to call from several threads."""

    def __init__(
        self,
        classifier: Classifier,
        settings: Settings,
        loader: sources.Loader,
        keeper: "Keeper | None" = None,
    ) -> None:
        self._classifier = classifier
        self._keeper = keeper
        self._settings = settings
        self._load = loader
        self._preprocess = Preprocessor(classifier.contract.preprocess)

    def __call__(self, request: Request, *, remaining_s: float = math.inf) -> Response:
        """Predict what a request's images show.

        Args:
            request: of any source, with any kind of reference.
            remaining_s: seconds until Lambda ends the invocation.

        Raises:
            ServingError: the request as a whole cannot be answered.
        """
        wanted = sources.read(request, self._settings)
        contract = self._classifier.contract
        options = Options.of(request.query, wanted.options, contract, self._settings)
        ends_at = time.monotonic() + remaining_s - _RESERVE_S
        loaded = self._loaded(wanted.items, ends_at)
        items = self._inferred(loaded, len(wanted.items), ends_at, options)
        images = [self._logged(item) for item in items]
        failures = tuple(item.failure for item in items if item.failure is not None)
        if not wanted.is_batch and items[0].error:
            return problems.response(items[0].error, images=images, failures=failures)
        answers = [
            problems.document(item.error) if item.error else self._answer(item, options)
            for item in items
        ]
        content = {"results": answers} if wanted.is_batch else answers[0]
        return Response(HTTPStatus.OK, content, images=images, failures=failures)

    def _loaded(
        self, references: Sequence[Reference | ServingError], ends_at: float
    ) -> Iterator[_Item]:
        """An item with its bytes for each reference, in order; remote ones are fetched at once."""

        def load(reference: Reference | ServingError) -> _Item:
            if isinstance(reference, ServingError):
                return _Item(_UNREADABLE, error=reference)
            item = _Item(reference.kind)
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

    def _inferred(
        self, items: Iterator[_Item], count: int, ends_at: float, options: Options
    ) -> list[_Item]:
        """The `count` items, each with its predictions or its error.

        Each image is inferred alone: a batch takes as long for each image, or longer when its
        activations no longer fit the caches. Half of a photo's time is decoding, which uses one
        thread, so each vCPU works on its own photo. An image is not begun when the time left may be
        too short for it, so that the finished ones can be answered.
        """
        slowest_s = 0.0

        def infer(item: _Item) -> _Item:
            nonlocal slowest_s
            started = time.monotonic()
            if slowest_s and started + slowest_s > ends_at:
                item.error = item.error or _out_of_time()
            self._infer(item, options)
            slowest_s = max(slowest_s, time.monotonic() - started)
            return item

        threads = min(self._settings.inference_threads, count)
        if threads < 2:
            return list(map(infer, items))
        from concurrent.futures import ThreadPoolExecutor  # only batches need it

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(infer, items))

    def _infer(self, item: _Item, options: Options) -> None:
        """Put the predictions into an item, or its error."""
        batch = self._prepared(item, options) if item.error is None else None
        data = b"" if self._keeper is None else item.data
        item.data = b""
        if batch is None:
            return
        maps = None  # (1, h, w)
        with _Stage(item, "inference"):
            if options.explain:
                (logits, distances), maps = self._classifier.explain(batch)
            else:
                logits, distances = self._classifier.infer(batch)
            probabilities = self._classifier.probabilities(logits)
            item.predictions = self._classifier.top_k(probabilities[0], options.top_k)
            known = self._classifier.contract.familiarity
            if known is not None and distances is not None:
                item.familiarity = known.of(float(distances[0]))
            if self._keeper is not None:
                self._offer(self._keeper, data, item, probabilities[0])
        if maps is not None and item.photo is not None:
            from serving.answers import explanation  # seldom asked for

            with _Stage(item, "explain"):
                label = item.predictions[0].label
                item.explanation = explanation.of(label, maps[0], item.photo)

    def _offer(
        self, keeper: "Keeper", data: bytes, item: _Item, probabilities: NDArray[np.float64]
    ) -> None:
        """Have a photo kept if the model is unsure of it, whatever threshold the request sets."""
        from serving.keep import MAX_LABELS

        contract = self._classifier.contract
        if because := self._unsure_because(item, contract.unsure_below):
            top = self._classifier.top_k(probabilities, MAX_LABELS)
            keeper.offer(data, self._said(top, item, because))

    def _prepared(self, item: _Item, options: Options) -> NDArray[np.float32] | None:
        """The image as a (1, 3, H, W) batch; None if that failed and the item has its error.

        The decoded image, which may be large, is gone when this returns.
        """
        batch, decoded, spec = None, None, self._preprocess.spec
        with _Stage(item, "decode"):
            decoded = decode_scaled(
                item.data,
                max_pixels=self._settings.image_max_pixels,
                for_size=spec.size_px,
                close=spec.is_close,
                levels=spec.levels,
                resample=spec.resampling,
            )
        if decoded is not None:
            with _Stage(item, "preprocess"):
                batch = self._preprocess(decoded.image, decoded.box)
                if options.explain:
                    item.photo = in_grey(decoded.image, decoded.box)
        return batch

    def _answer(self, item: _Item, options: Options) -> dict[str, Any]:
        because = self._unsure_because(item, options.unsure_below)
        said = self._said(item.predictions, item, because)
        return {**said, "timings_ms": item.timings_ms}

    def _said(
        self, predictions: Sequence[Prediction], item: _Item, because: str | None
    ) -> dict[str, Any]:
        return {
            "predictions": [
                {"label": p.label, "probability": round(p.probability, 6)} for p in predictions
            ],
            "label": predictions[0].label,
            "unsure": because is not None,
            **({"unsure_because": because} if because else {}),
            **_rounded(item.familiarity),
            **({"explanation": item.explanation} if item.explanation else {}),
            "model": identity(self._classifier),
        }

    def _logged(self, item: _Item) -> dict[str, Any]:
        """An image's facts for the log.

        `unsure` follows the contract's threshold, not the request's. The share of unfamiliar
        images shows whether they resemble the training photos.
        """
        if item.kind == _UNREADABLE:
            facts: dict[str, Any] = {"kind": item.kind}
        else:
            facts = {"kind": item.kind, "bytes": item.size_bytes}
        if item.error is not None:
            return facts | {"code": item.error.code}
        top = item.predictions[0]
        because = self._unsure_because(item, self._classifier.contract.unsure_below)
        unfamiliar = {} if item.familiarity is None else {"unfamiliar": because == UNFAMILIAR}
        return facts | {
            "label": top.label,
            "probability": round(top.probability, 6),
            "unsure": because is not None,
            **unfamiliar,
            **_rounded(item.familiarity),
            "timings_ms": item.timings_ms,
        }

    def _unsure_because(self, item: _Item, unsure_below: float) -> str | None:
        """Why an answer is `unsure`, or None if it is not; the photo comes before its classes."""
        known = self._classifier.contract.familiarity
        if known and item.familiarity is not None and item.familiarity < known.unsure_below:
            return UNFAMILIAR
        return UNDECIDED if item.predictions[0].probability < unsure_below else None


def _rounded(familiarity: float | None) -> dict[str, float]:
    return {} if familiarity is None else {"familiarity": round(familiarity, 4)}


def identity(classifier: Classifier) -> dict[str, str]:
    """The model's name and version, as every answer states them."""
    return {"name": classifier.contract.name, "version": classifier.version}


def _out_of_time() -> OutOfTimeError:
    return OutOfTimeError(
        "The function ran out of time before this image. Send it again with fewer others."
    )


class _Stage:
    """Times one stage of one item; whatever it raises becomes that item's error."""

    def __init__(self, item: _Item, name: str) -> None:
        self._item, self._name = item, name

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        duration_ms = (time.perf_counter() - self._started) * 1000
        self._item.timings_ms[self._name] = round(duration_ms, 2)
        if isinstance(error, ServingError):
            self._item.error = error
        elif isinstance(error, Exception):
            self._item.error, self._item.failure = ServingError(problems.UNEXPECTED), error
        return isinstance(error, Exception)
