"""The Lambda entry: loads the model once, at init, and hands each event to serving.app."""

import gc

gc.disable()  # collecting during import took 7 % of the cold start and freed 0.2 MB

import os
from typing import Any

import numpy as np

from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings

try:  # only the runtime in AWS's base image has it; elsewhere nobody takes snapshots
    from snapshot_restore_py import register_after_restore, register_before_snapshot
except ImportError:
    register_after_restore = register_before_snapshot = None


def _new_app() -> App:
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local")
    return App(classifier, settings, function=function)


try:
    # A SetupError here fails the deployment.
    settings = Settings.from_env(os.environ)
    classifier = Classifier.load(settings.model_path, threads=settings.inference_threads)
    app = _new_app()
finally:
    gc.freeze()  # collections during requests skip what stays for good
    gc.enable()


def warm_up() -> None:
    """Infer once and import what the first URL needs, before SnapStart's snapshot.

    The snapshot then holds what that loads and allocates.
    """
    import serving.fetch.fetcher  # noqa: F401

    spec = classifier.contract.preprocess
    classifier.logits(np.zeros((1, 3, spec.height_px, spec.width_px), np.float32))


def renew() -> None:
    """After a restore, replace what all instances from one snapshot would share.

    That is the seed of random numbers, and the App with its connections and with the temporary
    credentials of its AWS clients. The model stays.
    """
    import random

    global app
    random.seed()
    app = _new_app()


if register_before_snapshot is not None:
    register_before_snapshot(warm_up)
    register_after_restore(renew)


def lambda_handler(event: Any, context: Any) -> Any:
    """Answer one event of any kind that `serving.http.events` knows; never raises."""
    if context is None:  # a call by hand
        return app.handle(event, request_id="none")
    remaining_s = context.get_remaining_time_in_millis() / 1000
    return app.handle(event, request_id=context.aws_request_id, remaining_s=remaining_s)
