"""What the Lambda entry does before SnapStart's snapshot and after a restore."""

import importlib
import random
import sys

import pytest
import snapshot_restore_py as hooks

from tests.tiny_model import write_tiny_model


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """lambda_function, imported anew with the tiny model."""
    monkeypatch.setenv("MODEL_PATH", str(write_tiny_model(tmp_path / "tiny.onnx")))
    for registered in (hooks._before_snapshot_registry, hooks._after_restore_registry):
        registered.clear()
    monkeypatch.delitem(sys.modules, "lambda_function", raising=False)
    return importlib.import_module("lambda_function")


def run(registry):
    for function, args, kwargs in list(registry):
        function(*args, **kwargs)


def test_an_inference_is_made_before_the_snapshot(entry, monkeypatch):
    batches = []
    monkeypatch.setattr(type(entry.classifier), "logits", lambda self, b: batches.append(b.shape))
    run(hooks.get_before_snapshot())
    assert batches == [(1, 3, 32, 24)]


def test_a_restore_renews_connections_and_clients_but_not_the_model(entry):
    before, model = entry.app, entry.classifier
    run(hooks.get_after_restore())
    assert entry.app is not before
    assert entry.classifier is model


def test_two_instances_from_one_snapshot_draw_other_random_numbers(entry):
    drawn = []
    snapshot = random.getstate()
    for _ in range(2):
        random.setstate(snapshot)
        run(hooks.get_after_restore())
        drawn.append(random.random())
    assert drawn[0] != drawn[1]


def test_without_the_runtimes_hooks_the_entry_loads_all_the_same(entry, monkeypatch):
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", None)
    again = importlib.reload(entry)
    assert again.register_before_snapshot is None
