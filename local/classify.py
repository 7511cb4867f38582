"""Every photo below a folder classified on this machine, by the handler's code and without AWS.

Each core has a process with its own session of one thread. Paths go to it by a pipe, and rows of
local/answers.py come back. Photos that the file of answers has already are left out, so the same
command goes on after any end. A photo that cannot be read becomes a row with an error's code.
"""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Self

from tqdm import tqdm

from local.answers import Answers, Row, link_by_label
from local.backends import ROOT
from local.errors import LocalError
from serving.errors import ServingError, SetupError, TooLargeError
from serving.http import bodies, events
from serving.settings import Settings
from train.photos.folders import is_left_behind, is_photo, printable

_SIGNATURE_BYTES = 64
_KEPT = ("unsure", "unsure_because", "familiarity", "predictions")  # of an answer
_UNREADABLE = "unreadable_file"  # beside the codes of serving.errors
_WAITING = 2  # photos that a process has: when one is done, the next is there
_REPORT_S, _LOGGED_S = 0.2, 30.0  # between reports of progress, to a terminal and to a file
_END_TIMEOUT_S = 5.0
_CONTEXT = multiprocessing.get_context("spawn")  # the same everywhere, and no files are inherited


def run(folder: Path, out: Path, sort_into: Path | None = None) -> None:
    """Classify the photos below `folder` that `out` has no row of, and report to the terminal.

    Raises:
        LocalError: there are no photos, the model cannot be loaded, or `out` cannot be written.
    """
    if not folder.is_dir():
        raise LocalError(f"There is no folder {folder}.")
    if sort_into and sort_into.resolve().is_relative_to(folder.resolve()):
        raise LocalError(f"{sort_into} lies in {folder}: its links would be classified, too.")
    photos, others = listed(folder)
    if not photos:
        raise LocalError(f"There are no photos below {folder}; it has {others:,} other files.")
    out_name = printable(out)
    with Answers(out) as answers:
        left = [photo for photo in photos if printable(Path(photo)) not in answers.labels]
        if len(left) < len(photos):
            print(f"{out_name} has {len(photos) - len(left):,} of {len(photos):,} photos already.")
        if left:
            _classify(left, answers)
        if sort_into:
            labelled = ((photo, answers.labels[printable(Path(photo))]) for photo in photos)
            links = link_by_label(sort_into, (pair for pair in labelled if pair[1]))
            print(f"{links:,} photos are in the folders of {printable(sort_into)}, by label.")
    if others:
        print(f"{others:,} other files were passed over.")
    told = ", ".join(f"{code} {count:,}" for code, count in answers.errors.most_common())
    errors = f" With an error: {told}." if told else ""
    print(f"{len(answers.labels):,} answers are in {out_name}.{errors}")


def listed(folder: Path) -> tuple[list[str], int]:
    """The photos below a folder in order, and the number of its other files.

    A photo is what is called like one or begins like one. Links are followed, to each folder once.
    What is hidden is left out.
    """
    photos, others, seen = [], 0, set()
    for where, folders, files in os.walk(folder, followlinks=True, onerror=_say):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_left_behind(name))
        for name in sorted(name for name in files if not is_left_behind(name)):
            path = str(Path(where, name))
            if _is_photo(path):
                photos.append(path)
            else:
                others += 1
    return photos, others


def _say(error: OSError) -> None:
    print(f"local: {error.filename} cannot be read: {error.strerror}.", file=sys.stderr)


def _is_photo(path: str) -> bool:
    is_file = os.path.isfile(path)  # noqa: PTH113 - Path's raises if the folder is not readable
    if is_photo(Path(path)):
        return is_file or not os.path.exists(path)  # noqa: PTH110 - a pipe would never end
    try:
        return is_file and bodies.is_image(_first_bytes(path, _SIGNATURE_BYTES))
    except OSError:
        return False


def _first_bytes(path: str, count: int) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - a path as os.walk gives it
        return file.read(count)


def _classify(photos: Sequence[str], answers: Answers) -> None:
    """Add a row for each photo."""
    pause_s = _REPORT_S if sys.stderr.isatty() else _LOGGED_S
    with Workers(min(len(photos), _cores())) as workers:
        answers.take_model(workers.version)
        with tqdm(total=len(photos), unit=" images", mininterval=pause_s) as bar:
            for row in workers.rows(photos):
                answers.add({**row, "model": workers.version})
                bar.update()


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Processes that classify photos; a context manager that ends them.

    Attributes:
        workers: one for each process.
        version: the model's.

    Raises:
        LocalError: a setting is wrong, or the model cannot be loaded.
    """

    def __init__(self, count: int) -> None:
        try:
            self._settings = Settings.from_env(os.environ)
        except SetupError as error:
            raise LocalError(error.detail) from error
        self.workers: list[Worker] = []
        try:
            self.workers += [Worker(self._settings) for _ in range(count)]
            self.version = {worker.version() for worker in self.workers}.pop()
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        for worker in self.workers:
            worker.end()

    def rows(self, photos: Iterable[str]) -> Iterator[Row]:
        """A row for each photo, in the order in which they are done.

        A process that a photo ends is replaced, and the photo tried once more after the others.
        """
        left, tried = deque(photos), set()
        while True:
            for worker in self.workers:
                while left and len(worker.photos) < _WAITING:
                    worker.give(left.popleft())
            busy = {worker.connection for worker in self.workers if worker.photos}
            if not busy:
                return
            ready = wait(busy)
            for worker in [worker for worker in self.workers if worker.connection in ready]:
                row = worker.row()
                if row is not None:
                    yield row
                    continue
                photo, *others = worker.photos
                left.extendleft(others)
                if photo in tried:
                    yield _refused(photo, ServingError.code, "The process that read it ended.")
                else:
                    tried.add(photo)
                    left.append(photo)
                self._replace(worker)

    def _replace(self, worker: "Worker") -> None:
        worker.end()
        new = Worker(self._settings)
        self.workers[self.workers.index(worker)] = new
        new.version()


class Worker:
    """A process that classifies photos, the pipe to it, and the photos that it has."""

    def __init__(self, settings: Settings) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        self.photos: deque[str] = deque()
        self._process = _CONTEXT.Process(target=_work, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()  # now only the process has it, so that its end shows

    def version(self) -> str:
        """The model's version; waits until the process is ready."""
        try:
            found: str | ServingError = self.connection.recv()
        except EOFError as error:
            raise LocalError("The process that classifies does not start.") from error
        if isinstance(found, ServingError):
            raise LocalError(found.detail)
        return found

    def give(self, photo: str) -> None:
        self.photos.append(photo)
        with suppress(OSError):  # it has ended, which `row` will find
            self.connection.send(photo)

    def row(self) -> Row | None:
        """The row of its first photo; None if the process has ended."""
        try:
            row: Row = self.connection.recv()
        except (EOFError, OSError):
            return None
        self.photos.popleft()
        return row

    def end(self) -> None:
        self._process.terminate()
        self._process.join(_END_TIMEOUT_S)
        self.connection.close()


def _work(connection: Connection, settings: Settings) -> None:
    """What a process does: say the model's version, then answer each path with its row."""
    os.setsid()  # Ctrl-C reaches neither it nor the children that decode
    try:
        answer = _Answerer(settings)
    except SetupError as error:
        connection.send(error)
        return
    connection.send(answer.version)
    with suppress(EOFError, OSError):  # the other side has ended
        while True:
            connection.send(answer(connection.recv()))


class _Answerer:
    """A path in, its row out, by the code that answers requests."""

    def __init__(self, settings: Settings) -> None:
        from serving.http.sources import Loader
        from serving.model.classifier import Classifier
        from serving.predict import Predictor  # with ONNX Runtime, which the parent does not need

        classifier = Classifier.load(ROOT / settings.model_path)
        self.version = classifier.version
        self._most_bytes = settings.fetch_max_bytes
        self._predict = Predictor(classifier, settings, Loader(settings, self._load))
        self._data = b""

    def __call__(self, path: str) -> Row:
        try:
            self._data = _first_bytes(path, self._most_bytes + 1)
        except OSError as error:
            return _refused(path, _UNREADABLE, f"It cannot be read: {error.strerror}.")
        response = self._predict(events.read({"url": path}))
        answer = response.content
        if response.code is None:
            return {
                "path": printable(Path(path)),
                "label": answer["label"],
                "probability": answer["predictions"][0]["probability"],
                **{name: answer[name] for name in _KEPT if name in answer},
            }
        failed = "; ".join(f"{type(error).__name__}: {error}" for error in response.failures)
        return _refused(path, response.code, failed or answer["detail"])

    def _load(self, url: str, *, timeout_s: float) -> bytes:
        """What is fetched from the URL that the path stands for: the file that was read."""
        if len(self._data) > self._most_bytes:
            raise TooLargeError(f"The file has more than {self._most_bytes:,} bytes.")
        return self._data


def _refused(path: str, code: str, detail: str) -> Row:
    return {"path": printable(Path(path)), "error": code, "detail": detail}
