"""Several images in one request: each has its own answer; each vCPU works on one at a time."""

import base64
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serving import predict
from serving.app import App
from serving.errors import RemoteFailedError
from serving.images.decode import Decoded, decode_scaled
from serving.model.classifier import Classifier, Inference
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import encoded, picture
from tests.invocations import as_json
from tests.tiny_model import write_tiny_model

SURE, UNSURE = Image.new("RGB", (64, 80), (250, 0, 0)), Image.new("RGB", (64, 80), (90, 100, 80))


class Meeting(Classifier):
    """Infers only where a given number of threads want it at the same time."""

    barrier: threading.Barrier

    def infer(self, batch: NDArray[np.float32]) -> Inference:
        self.barrier.wait(10)
        return super().infer(batch)


class Listening(Classifier):
    """Notes which thread infers how many images."""

    heard: list[tuple[bool, int]]

    def infer(self, batch: NDArray[np.float32]) -> Inference:
        self.heard.append((threading.current_thread() is threading.main_thread(), len(batch)))
        return super().infer(batch)


class Slow(Classifier):
    """Takes two seconds for an inference, of a clock of its own."""

    now_s = 0.0
    _lock = threading.Lock()

    def infer(self, batch: NDArray[np.float32]) -> Inference:
        with Slow._lock:
            Slow.now_s += 2
        return super().infer(batch)


def answers(
    classifier: Classifier, threads: int, pictures: list[Any], remaining_s: float = 30
) -> list[dict[str, Any]]:
    """The results of a batch, without what they took."""
    app = App(classifier, Settings(inference_threads=threads), no_fetch)
    texts = [p if isinstance(p, str) else base64.b64encode(encoded(p)).decode() for p in pictures]
    event = {"images": [{"image": text} for text in texts]}
    results = app.handle(event, "request-1", remaining_s=remaining_s)["results"]
    return [{name: r[name] for name in r if name != "timings_ms"} for r in results]


@pytest.mark.parametrize("count", [2, 4])
def test_two_vcpus_have_an_image_each(count: int, tmp_path: Path):
    classifier = Meeting.load(write_tiny_model(tmp_path / "tiny.onnx"))
    assert isinstance(classifier, Meeting)
    classifier.barrier = threading.Barrier(2)
    results = answers(classifier, 2, [picture("red"), picture("green")] * (count // 2))
    assert [result["label"] for result in results] == ["red", "green"] * (count // 2)


@pytest.mark.parametrize(
    ("threads", "count"),
    [(0, 5), (1, 5), (4, 1)],
    ids=["threads unknown", "one thread", "one image"],
)
def test_where_nothing_can_run_at_once_no_thread_is_started(
    threads: int, count: int, tmp_path: Path
):
    classifier = Listening.load(write_tiny_model(tmp_path / "tiny.onnx"))
    assert isinstance(classifier, Listening)
    classifier.heard = []
    no_picture = ["eA=="] * (count > 1)  # which is not inferred
    answers(classifier, threads, [picture("red")] * count + no_picture)
    assert classifier.heard == [(True, 1)] * count


def test_a_decoded_picture_is_freed_before_it_is_inferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    classifier = Classifier.load(write_tiny_model(tmp_path / "tiny.onnx"))
    infer, pictures, waiting = Classifier.infer, [], []

    def decoded(data: bytes, **wanted: Any) -> Decoded:
        found = decode_scaled(data, **wanted)
        pictures.append(weakref.ref(found.image))
        return found

    def counted(self: Classifier, batch: NDArray[np.float32]) -> Inference:
        waiting.append(sum(one() is not None for one in pictures))
        return infer(self, batch)

    monkeypatch.setattr("serving.predict.decode_scaled", decoded)
    monkeypatch.setattr(Classifier, "infer", counted)
    answers(classifier, 1, [picture("red"), picture("green")])
    assert waiting == [0, 0]


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_several_threads_give_the_same_answers_in_order(threads: int, tmp_path: Path):
    model = write_tiny_model(tmp_path / "tiny.onnx", unsure_below=0.9)
    pictures = [SURE, UNSURE, "!", picture("green"), UNSURE, picture("blue"), "aGVsbG8="]
    alone = answers(Classifier.load(model), 1, pictures)
    assert answers(Classifier.load(model), threads, pictures) == alone
    assert [result.get("code") for result in alone if "code" in result] == [
        "invalid_request",
        "unsupported_image",
    ]


@pytest.mark.parametrize("threads", [1, 2])
def test_images_without_time_left_get_a_503_and_others_an_answer(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    classifier = Slow.load(write_tiny_model(tmp_path / "tiny.onnx"))
    Slow.now_s = 0.0
    clock = SimpleNamespace(monotonic=lambda: Slow.now_s, perf_counter=lambda: Slow.now_s)
    monkeypatch.setattr(predict, "time", clock)
    results = answers(classifier, threads, [picture("red")] * 16, remaining_s=8)
    answered = [result for result in results if "label" in result]
    told = [result for result in results if result.get("code") == "out_of_time"]
    assert len(answered) + len(told) == 16
    # Three images fit into the seven seconds that are left for them. With two threads the clock
    # may go on during another one's image: from two to four are answered then.
    assert len(answered) in ({3} if threads == 1 else {2, 3, 4})
    assert {result["status"] for result in told} == {503}
    assert "fewer" in told[0]["detail"]


def test_a_single_image_is_tried_however_short_the_time_is(tmp_path: Path):
    classifier = Classifier.load(write_tiny_model(tmp_path / "tiny.onnx"))
    assert answers(classifier, 1, [picture("red")], remaining_s=0.5)[0]["label"] == "red"


def test_a_batch_mixes_references_and_each_fails_for_itself(classifier, call, red_jpeg):
    def fetch(url, *, timeout_s):
        if "green" in url:
            return encoded(picture("green"))
        raise RemoteFailedError("gone")

    app = App(classifier, Settings(), fetch)
    images = [
        {"url": "https://example.com/green.jpg"},
        {"image": base64.b64encode(red_jpeg).decode()},
        {"url": "https://example.com/gone.jpg"},
        {"image": "!"},
        {"picture": "x"},
        "https://example.com/",
        {"image": base64.b64encode(encoded(picture("blue"), "WEBP")).decode()},
    ]
    answer = call(to=app, **as_json({"images": images, "top_k": 1}))
    assert answer.status == 200
    results = answer.json["results"]
    assert [r.get("label", r.get("status")) for r in results] == [
        *("green", "red", 502, 400, 400, 400, "blue"),
    ]
    assert "images[4]" in results[4]["detail"]
    assert all(len(r["predictions"]) == 1 for r in results if "label" in r)


def test_a_batch_of_one_is_still_a_list(call, red_jpeg):
    images = [{"image": base64.b64encode(red_jpeg).decode()}]
    assert [r["label"] for r in call(**as_json({"images": images})).json["results"]] == ["red"]


def test_a_batch_is_fetched_side_by_side(classifier, call, red_jpeg):
    together = threading.Barrier(4, timeout=5)  # breaks unless four fetches wait at once

    def fetch(url, *, timeout_s):
        together.wait()
        return red_jpeg

    app = App(classifier, Settings(), fetch)
    images = [{"url": f"https://example.com/{i}"} for i in range(4)]
    results = call(to=app, **as_json({"images": images})).json["results"]
    assert [r["label"] for r in results] == ["red"] * 4


def test_a_batch_over_the_limit_is_refused_with_the_limit(classifier, call):
    app = App(classifier, Settings(batch_max_items=2), no_fetch)
    answer = call(to=app, **as_json({"images": [{"url": "https://example.com/"}] * 3}))
    assert answer.status == 413
    assert "at most 2" in answer.json["detail"]


def test_a_direct_invocation_may_be_a_batch(app, red_jpeg):
    made = {"images": [{"image": base64.b64encode(red_jpeg).decode()}, {"image": "eA=="}]}
    red, failed = app.handle(made, "request-1")["results"]
    assert (red["label"], failed["status"]) == ("red", 415)


def test_whatever_a_fetch_raises_is_that_images_problem(classifier, call, capsys, red_jpeg):
    def fetch(url, *, timeout_s):
        if "bad" in url:
            raise RuntimeError("inside")
        return red_jpeg

    app = App(classifier, Settings(), fetch)
    images = [{"url": f"https://example.com/{name}"} for name in ("good", "bad", "good")]
    answer = call(to=app, **as_json({"images": images}))
    assert answer.status == 200
    first, failed, last = answer.json["results"]
    assert (first["label"], last["label"]) == ("red", "red")
    assert (failed["status"], failed["code"]) == (500, "internal_error")
    assert "inside" not in failed["detail"]
    assert "RuntimeError: inside" in capsys.readouterr().out


def test_whatever_decoding_raises_is_that_images_problem(tmp_path, monkeypatch, red_jpeg):
    class UnheardError(Exception):
        pass

    def decode(data: bytes, **wanted: Any) -> Decoded:
        if data == b"bad":
            raise UnheardError
        return decode_scaled(data, **wanted)

    monkeypatch.setattr("serving.predict.decode_scaled", decode)
    classifier = Classifier.load(write_tiny_model(tmp_path / "tiny.onnx"))
    results = answers(classifier, 1, [picture("red"), "YmFk", picture("green")])
    assert [r.get("label", r.get("status")) for r in results] == ["red", 500, "green"]
