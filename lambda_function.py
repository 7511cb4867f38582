"""The Lambda entry: the model is loaded at init, once; each event goes to serving.app."""

import os
from typing import Any

from serving.app import App
from serving.classifier import Classifier
from serving.fetch import Fetcher
from serving.settings import Settings


def build_app() -> App:
    """Read the settings and load the model; raises SetupError, which fails the deployment."""
    settings = Settings.from_env(os.environ)
    classifier = Classifier.load(settings.model_path, threads=settings.inference_threads)
    return App(classifier, settings, Fetcher(settings))


app = build_app()


def lambda_handler(event: Any, context: Any) -> Any:
    """Answer one event of any kind that `serving.events` knows; never raises."""
    remaining_s = context.get_remaining_time_in_millis() / 1000
    return app.handle(event, request_id=context.aws_request_id, remaining_s=remaining_s)
