"""smoke against the local API, invoke against the emulator, doctor against the built image."""

import json
import os

import pytest

from local import backends
from local.emulator import Emulator, binary_path
from ops import invoke, smoke
from ops.checks import image as image_checks
from tests.e2e.conftest import NO_EMULATOR
from tests.e2e.engine import ROOT, missing_engine, run
from tests.tampering import permute_labels, write_tampered

MODEL = ROOT / "model" / "classifier.onnx"
IMAGE = backends.IMAGE
needs_engine = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_engine()), reason=missing_engine() or "-"),
]


def test_smoke_passes_on_the_bundled_model(emulate, capsys):
    with emulate({"MODEL_PATH": str(MODEL)}) as gateway:
        assert smoke.main([gateway.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("ok ")]) == 16
    assert lines[-1] == "All checks passed."


def test_smoke_fails_on_a_model_with_permuted_labels(emulate, tmp_path, capsys):
    model = write_tampered(MODEL, tmp_path / "classifier.onnx", permute_labels)
    with emulate({"MODEL_PATH": str(model)}) as gateway:
        assert smoke.main([gateway.url]) == 1
    output = capsys.readouterr().out
    assert output.count("FAIL golden picture") == 10
    assert "ok   health" in output


@pytest.mark.skipif(binary_path() is None, reason=NO_EMULATOR)
def test_invoke_shows_a_functions_answer_to_a_photo(monkeypatch, capsys, tmp_path):
    log = (tmp_path / "log").open("w")
    function = backends.start("emulator", backends.FunctionConfig(dict(os.environ), log))
    assert isinstance(function, Emulator)
    try:
        url = f"http://127.0.0.1:{function._interface._port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
        status = invoke.main(["function", str(ROOT / "samples" / "pants.jpg")])
    finally:
        function.close()
        log.close()
    assert status == 0
    assert json.loads(capsys.readouterr().out)["label"] == "pants"


@pytest.fixture(scope="module")
def built():
    run("docker", "build", "--quiet", "--tag", IMAGE, ".")
    return IMAGE


class TestImage:
    pytestmark = needs_engine

    def test_it_is_one_manifest_of_this_architecture_and_not_large(self, built):
        facts = image_checks.inspected(built)
        assert facts is not None
        own = {"amd64": "x86_64"}.get(facts["Architecture"], facts["Architecture"])
        assert image_checks.manifest(built, facts, own) == []

    def test_it_starts_without_root_network_and_a_writable_disk(self, built):
        assert image_checks.runs_read_only(built) == []

    def test_an_image_that_writes_at_its_start_is_found(self, built, tmp_path):
        (tmp_path / "Dockerfile").write_text(
            f'FROM {built}\nRUN echo \'open("/var/task/note", "w")\' >> lambda_function.py\n'
        )
        run("docker", "build", "--quiet", "--tag", "doctor-test:writes", str(tmp_path))
        try:
            (finding,) = image_checks.runs_read_only("doctor-test:writes")
        finally:
            run("docker", "image", "rm", "--force", "doctor-test:writes")
        assert "Read-only file system" in str(finding)

    def test_its_packages_are_the_pinned_ones_and_no_others(self, built):
        listed = run(
            *("docker", "run", "--rm", "--entrypoint", "sh", built),
            *("-c", "ls -d /var/task/*.dist-info"),
        )
        there = {
            name.rpartition("/")[2].removesuffix(".dist-info").replace("_", "-").lower()
            for name in listed.split()
        }
        text = (ROOT / "requirements.txt").read_text()
        pins = [line.split()[0] for line in text.splitlines() if "==" in line]
        assert there == {pin.replace("==", "-").lower() for pin in pins}
        assert not {n for n in there if n.startswith(("pip-", "boto", "torch", "awslambdaric"))}
