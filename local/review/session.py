"""One review: which photo is next, what is decided of it, and what the page shows of that.

The next photo is the first by name without a decision, so a review that was ended goes on there.
Photos that cannot be read, and copies of decided ones, are passed over.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from threading import RLock
from typing import Any

from local.errors import ReviewError, StaleError, UnreadableError
from local.review.log import Decision, Log
from local.review.places import Places
from local.review.source import Source
from serving.errors import ServingError
from serving.images.decode import decode
from serving.images.formats import DEFAULT_MAX_PIXELS, recognise

KEYS = 9
"""How many classes have a button and a key."""

# Of them, so many are the model's before those that the person chose last.
_MODELS_FIRST = 6
_SHOWN_PX = 1_600
_NAME_DIGITS = 32  # of a photo's hash


@dataclass(frozen=True, slots=True)
class Shown:
    """The photo on the page: its bytes, a JPEG for the browser, and what the model said."""

    photo: str
    name: str
    data: bytes
    jpeg: bytes
    said: Mapping[str, Any]


class Session:
    """A review of a source's photos for a data folder. Threads may share it.

    Raises:
        ReviewError: the source cannot be listed, or what a killed review had begun cannot be
            carried out.
    """

    def __init__(self, source: Source, places: Places, log: Log) -> None:
        self._source, self._places, self._log = source, places, log
        self._lock = RLock()
        self._names = source.names()
        self._passed: dict[str, str] = {}  # by name, why
        self._shown: Shown | None = None
        self._settle()

    def progress(self) -> tuple[int, int]:
        """How many photos are decided, and how many there are without those passed over."""
        with self._lock:
            decided = {decision.name for decision in self._log.decided.values()}
            done = sum(name in decided for name in self._names)
            return done, len(self._names) - len(self._passed)

    def state(self) -> dict[str, Any]:
        """What the page shows, as JSON."""
        with self._lock:
            shown = self._current()
            done, total = self.progress()
            last = next(reversed(self._log.decided.values()), None)
            return {
                "done": done,
                "total": total,
                "passed": Counter(self._passed.values()),
                "last": None if last is None else {"label": last.label, "file": last.file},
                "classes": self._places.classes,
                "photo": None if shown is None else self._described(shown),
            }

    def jpeg(self, photo: str) -> bytes:
        """The photo of this hash for the browser; raises StaleError if it is not shown now."""
        with self._lock:
            return self._require(photo).jpeg

    def decide(self, photo: str, label: str | None) -> None:
        """Label the shown photo, or say that it is none of the classes (None).

        Raises:
            StaleError: another photo is shown.
            ReviewError: the label cannot be taken, or a file cannot be written now.
        """
        with self._lock:
            self._settle()
            shown = self._require(photo)
            decision = Decision(shown.photo, shown.name, said=shown.said)
            if label is not None:
                decision = self._labelled(shown, self._places.class_named(label))
            self._log.decide(decision)
            self._settle()

    def undo(self) -> None:
        """Take the last decision back, also one of an earlier session; nothing if there is none."""
        with self._lock:
            last = next(reversed(self._log.decided.values()), None)
            if last is not None:
                self._log.undo(last)
                self._settle()
                self._shown = None

    def _labelled(self, shown: Shown, label: str) -> Decision:
        name = shown.photo[:_NAME_DIGITS] + recognise(shown.data).suffixes[0]
        file = self._places.file_for(label, name)
        return Decision(
            photo=shown.photo,
            name=shown.name,
            label=label,
            file=file,
            is_new=self._places.is_new(label, file),
            said=shown.said,
        )

    def _settle(self) -> None:
        """Carry out the decision that is not carried out yet, or the undoing of one."""
        pending = self._log.pending
        if pending is not None:
            try:
                self._places.put(pending, lambda: self._bytes_of(pending))
            except UnreadableError:  # it is gone from the source since, so nothing can be put
                self._log.undo(pending)
            except OSError as error:
                raise _unwritten(pending, error) from error
        undoing = self._log.undoing
        if undoing is not None:
            try:
                self._places.remove(undoing)
            except OSError as error:
                raise _unwritten(undoing, error) from error
        self._log.done()

    def _bytes_of(self, decision: Decision) -> bytes:
        if self._shown is not None and self._shown.photo == decision.photo:
            return self._shown.data
        data = self._source.read(decision.name)
        if hashlib.sha256(data).hexdigest() != decision.photo:
            raise UnreadableError(f"{decision.name} is another photo now.")
        return data

    def _require(self, photo: str) -> Shown:
        shown = self._current()
        if shown is None or shown.photo != photo:
            raise StaleError("Another photo is shown now. Look again.")
        return shown

    def _current(self) -> Shown | None:
        if self._shown is None or self._shown.photo in self._log.decided:
            self._shown = None
            decided = {decision.name for decision in self._log.decided.values()}
            for name in self._names:
                if name not in decided and name not in self._passed:
                    self._shown = self._loaded(name)
                    if self._shown is not None:
                        break
        return self._shown

    def _loaded(self, name: str) -> Shown | None:
        """The photo of a name; None if it is passed over."""
        try:
            data = self._source.read(name)
            photo = hashlib.sha256(data).hexdigest()
            if photo in self._log.decided:
                self._passed[name] = "copies"
                return None
            return Shown(photo, name, data, _as_jpeg(data), self._said(name))
        except (UnreadableError, ServingError):
            self._passed[name] = "unreadable"
            return None

    def _said(self, name: str) -> dict[str, Any]:
        """What the model said; of a damaged answer nothing, since the photo can be labelled."""
        try:
            return _known(self._source.answer(name))
        except UnreadableError:
            return _known({})

    def _described(self, shown: Shown) -> dict[str, Any]:
        chances = {p["label"]: p["probability"] for p in shown.said["predictions"]}
        labels = [{"label": name, "probability": chances.get(name)} for name in self._labels(shown)]
        because = shown.said["unsure_because"]
        return {"id": shown.photo, "name": shown.name, "because": because, "labels": labels}

    def _labels(self, shown: Shown) -> list[str]:
        """The classes with a key: the model's first, then those chosen last, then any other."""
        models = [p["label"] for p in shown.said["predictions"] if self._is_usable(p["label"])]
        classes = self._places.classes
        chosen = [d.label for d in reversed(self._log.decided.values()) if d.label in classes]
        order = [*models[:_MODELS_FIRST], *chosen, *models, *classes]
        return list(dict.fromkeys(order))[:KEYS]

    def _is_usable(self, label: str) -> bool:
        try:
            return self._places.class_named(label) == label
        except ReviewError:
            return False


def _unwritten(decision: Decision, error: OSError) -> ReviewError:
    return ReviewError(
        f"{error.filename or decision.file} cannot be changed: {error.strerror}. Mend that; the "
        "next key goes on from here."
    )


def _as_jpeg(data: bytes) -> bytes:
    """A picture that every browser shows, whatever the file is."""
    image = decode(data, max_pixels=DEFAULT_MAX_PIXELS)
    image.thumbnail((_SHOWN_PX, _SHOWN_PX))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _known(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What is used of a model's answer, which anybody who may write to the source has written."""
    predictions = answer.get("predictions")
    found = [
        {"label": p["label"], "probability": float(p["probability"])}
        for p in (predictions if isinstance(predictions, list) else [])[:KEYS]
        if isinstance(p, dict)
        and isinstance(p.get("label"), str)
        and isinstance(p.get("probability"), int | float)
        and 0 <= p["probability"] <= 1
    ]
    because, model = answer.get("unsure_because"), answer.get("model")
    version = model.get("version") if isinstance(model, dict) else None
    return {
        "predictions": found,
        "unsure_because": because if isinstance(because, str) else "",
        "model": version if isinstance(version, str) else "",
    }
