"""The Lambda entry: the model is loaded at init, once; each event goes to serving.app."""

import gc

gc.disable()  # a fifteenth of the start went into looking for what is 0.2 MB of garbage

import os
from typing import Any

import numpy as np

from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings

try:  # the runtime of AWS's base image brings it; elsewhere nobody takes snapshots
    from snapshot_restore_py import register_after_restore, register_before_snapshot
except ImportError:
    register_after_restore = register_before_snapshot = None


def load_classifier() -> Classifier:
    """Load the model that the environment names; raises SetupError, which fails the deployment."""
    settings = Settings.from_env(os.environ)
    return Classifier.load(settings.model_path, threads=settings.inference_threads)


def build_app(model: Classifier | None = None) -> App:
    """Read the settings and put the service around a model; raises SetupError as above."""
    settings = Settings.from_env(os.environ)
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local")
    return App(model or load_classifier(), settings, function=function)


try:
    classifier = load_classifier()
    app = build_app(classifier)
finally:
    gc.freeze()  # what stays for good need not be looked through by a request either
    gc.enable()


def warm_up() -> None:
    """Infer once before SnapStart's snapshot, which then holds what that loads and allocates.

    It also holds what the first URL would import.
    """
    import serving.fetch.fetcher  # noqa: F401

    spec = classifier.contract.preprocess
    classifier.logits(np.zeros((1, 3, spec.height_px, spec.width_px), np.float32))


def renew() -> None:
    """After a restore, replace what every instance from one snapshot would share.

    The seed of random numbers, and the App with its connections and the credentials of its AWS
    clients, which are temporary. The model stays.
    """
    import random

    global app
    random.seed()
    app = build_app(classifier)


if register_before_snapshot is not None:
    register_before_snapshot(warm_up)
    register_after_restore(renew)


def lambda_handler(event: Any, context: Any) -> Any:
    """Answer one event of any kind that `serving.http.events` knows; never raises."""
    remaining_s = context.get_remaining_time_in_millis() / 1000
    return app.handle(event, request_id=context.aws_request_id, remaining_s=remaining_s)
