"""Round once: unsure photos are kept, half of them labelled, and the next model knows the rest."""

from itertools import count
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto import mock_aws
from PIL import Image
from selenium.webdriver.common.keys import Keys

from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.browser import NEEDS_CHROMIUM
from tests.conftest import no_fetch
from tests.drawn import encoded
from tests.e2e.review.test_page import Page
from tests.invocations import answer, event
from tests.reviewing import reviewing
from tests.small_recipes import small_steps, write_recipe
from train.photos.folders import list_folder
from train.recipes.build import BuildConfig, build

pytestmark = NEEDS_CHROMIUM

COLOURS = {"blue": (20, 30, 220), "green": (10, 200, 30), "red": (230, 20, 10)}
NEW, NEW_COLOUR = "yellow", (240, 220, 20)
PLACE = "s3://kept-photos/unsure"
_seeds = count()


def photo(colour: tuple[int, int, int], noise: int = 20) -> bytes:
    random = np.random.default_rng(next(_seeds))
    shade = random.integers(-noise, noise + 1, (32, 32, 3)) + random.integers(-noise, noise + 1, 3)
    return encoded(
        Image.fromarray(np.clip(np.array(colour) + shade, 0, 255).astype(np.uint8)), "PNG"
    )


def built(folder: Path, data: Path, name: str) -> Classifier:
    """A model of the folder as it is now, strictly: nothing that a review leaves is in the way."""
    steps = {step: flags for step, flags in small_steps("frozen").items() if step != "quantize"}
    steps["student"] |= {"epochs": 60, "lr": 1e-2}
    config = BuildConfig(
        data=data,
        recipe=str(write_recipe(folder / "tiny.toml", steps)),
        out=folder / name / "runs",
        weights=("none",),
        model=folder / name / "model",
        cache=folder / "cache",
        strict=True,
    )
    build(config)
    return Classifier.load(config.model / "classifier.onnx")


def answers(app: App, photos: list[bytes]) -> list[dict[str, object]]:
    events = [event("function_url", body=each) for each in photos]
    return [answer(made, app.handle(made, "request-1")).json for made in events]


@pytest.mark.slow
def test_the_loop_makes_the_model_sure_of_what_it_was_unsure_of(
    chromium,
    monkeypatch,
    tmp_path,
):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    data = tmp_path / "photos"
    for label, colour in COLOURS.items():
        (data / label).mkdir(parents=True)
        for number in range(24):
            (data / label / f"{number}.png").write_bytes(photo(colour))
    first = built(tmp_path, data, "first")
    strangers = [photo(NEW_COLOUR, noise=12) for _ in range(24)]
    settings = Settings(keep_unsure=PLACE, keep_timeout_s=10)
    with mock_aws():
        bucket = boto3.resource("s3").Bucket("kept-photos")
        bucket.create()
        before = answers(App(first, settings, no_fetch), strangers)
        assert all(found["unsure"] for found in before)
        kept = [o.key for o in bucket.objects.all()]
        assert len(kept) == 48

        with reviewing(PLACE, data) as server:
            page = Page(chromium, server.url)
            page.press("c")
            page.press(NEW, Keys.ENTER)
            for number in range(2, 13):
                page.title(f"Photo {number} of 24")
                (key,) = [text[0] for text in page.labels() if NEW in text]
                page.press(key)
            page.title("Photo 13 of 24")

    reviewed = {
        (data / entry.path).read_bytes()
        for entry in list_folder(data).entries
        if entry.label == NEW
    }
    never_reviewed = [each for each in strangers if each not in reviewed]
    assert (len(reviewed), len(never_reviewed)) == (12, 12)
    second = built(tmp_path, data, "second")
    after = answers(App(second, Settings(), no_fetch), never_reviewed)
    assert [(found["label"], found["unsure"]) for found in after] == [(NEW, False)] * 12
