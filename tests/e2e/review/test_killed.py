"""A review that is killed at random moments loses no decision and doubles no photo."""

import hashlib
import json
import random
import re
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from local.backends import ROOT
from tests.drawn import encoded
from train.photos.folders import list_folder
from train.photos.tables import list_table

PHOTOS = 40
LABELS = ("blue", "red", "hat", "new one", None)


class Review:
    """The command, which may be killed and begun again."""

    def __init__(self, *words: str) -> None:
        self._command = [sys.executable, "-m", "local", "review", *words, "--port", "0"]
        self.kills, self.took_s = 0, 0.0
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            self._command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if found := re.search(r"Open (http\S+)", line):
                self._place = urlsplit(found[1])
                return
        raise AssertionError("".join(lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, path: str, body: Any = None, within_s: float = 20) -> dict[str, Any] | None:
        """The answer; None if it did not come in time, and the review was killed and restarted."""
        connection = HTTPConnection("127.0.0.1", self._place.port or 0, timeout=20)
        started = time.perf_counter()
        try:
            origin = {"origin": f"http://{self._place.netloc}", "content-type": "application/json"}
            sent = None if body is None else json.dumps(body)
            method = "GET" if body is None else "POST"
            connection.request(method, self._place.path + path, sent, origin if sent else {})
            connection.sock.settimeout(within_s)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except TimeoutError:
            assert self.process.poll() is None, "it ended by itself"
            self.kill()
            self.kills += 1
            self._start()
            return None
        finally:
            connection.close()
        self.took_s = time.perf_counter() - started
        return answer


def draw(tmp_path: Path) -> dict[str, bytes]:
    """Noise of about 50 kB each, by hash: writing it takes a while."""
    noise = np.random.default_rng(0).integers(0, 256, (PHOTOS, 128, 128, 3), np.uint8)
    (tmp_path / "unsure").mkdir()
    made = {}
    for number, pixels in enumerate(noise):
        data = encoded(Image.fromarray(pixels), "PNG")
        (tmp_path / "unsure" / f"{number:02}.png").write_bytes(data)
        made[hashlib.sha256(data).hexdigest()] = data
    for label in ("blue", "red"):
        file = tmp_path / "photos" / label / "0.png"
        file.parent.mkdir(parents=True)
        file.write_bytes(encoded(Image.new("RGB", (8, 8), label), "PNG"))
    return made


def all_decided(review: Review, choose: random.Random) -> dict[str, str | None]:
    """Decide all photos, with kills; the label of each, as the review's own answers say."""
    wanted: dict[str, str | None] = {}
    decided_s = 0.0
    while (state := review.ask("state")) is None or state["photo"] is not None:
        assert state is not None
        assert state["done"] == len(wanted)
        photo, label = state["photo"]["id"], choose.choice(LABELS)
        is_undo = bool(wanted) and choose.random() < 0.15
        path, body = ("undo", {}) if is_undo else ("decide", {"photo": photo, "label": label})
        # Of the time of the last decision, which is about twice that of a state. Whether this one
        # was done when it was killed, the review that was begun again says.
        within_s = choose.uniform(0.1, 2) * (decided_s or 2 * review.took_s)
        answer = review.ask(path, body, within_s)
        if answer is not None:
            decided_s = review.took_s
        answer = answer or review.ask("state")
        assert answer is not None
        assert "message" not in answer, answer
        if is_undo and answer["done"] == len(wanted) - 1:
            wanted.popitem()
        elif not is_undo and answer["done"] == len(wanted) + 1:
            wanted[photo] = label
    return wanted


@pytest.mark.slow
@pytest.mark.parametrize("has_table", [False, True], ids=["folders", "table"])
def test_a_review_killed_at_random_loses_and_doubles_nothing(has_table, tmp_path):
    seed = random.randrange(1_000_000)
    print("seed", seed)
    choose = random.Random(seed)
    photos = draw(tmp_path)
    root, table = tmp_path / "photos", tmp_path / "labels.csv"
    table.write_text("path,label\nblue/0.png,blue\nred/0.png,red")
    words = [str(tmp_path / "unsure"), str(root), *(["--table", str(table)] if has_table else [])]
    with Review(*words) as review:
        wanted = all_decided(review, choose)
        assert review.kills > 3, "too few to mean anything"

    assert wanted.keys() == photos.keys()
    listing = list_table(root, table) if has_table else list_folder(root)
    found = [(entry.label, (root / entry.path).read_bytes()) for entry in listing.entries]
    placed = [(label, data) for label, data in found if data in photos.values()]
    assert sorted(placed) == sorted(
        (label, photos[photo]) for photo, label in wanted.items() if label is not None
    )
    assert len(found) == len(placed) + 2
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) == len(found) + 1, "and the log"
    assert [path for path in tmp_path.rglob(".*") if path.is_file()] == []
    if has_table:
        assert len(table.read_text().splitlines()) == len(found) + 1
