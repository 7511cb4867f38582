"""The running service against its own description, GET /openapi.json."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_model import write_tiny_model

CONFIG = Path(__file__).parents[1] / "schemathesis.toml"
# Nothing may leave this machine: no host is fetched, and S3 is a port on which nobody listens.
NO_WAY_OUT = {
    "FETCH_ALLOWED_HOSTS": "photos.invalid",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "eu-west-1",
}
EXCLUDED = ["positive_data_acceptance", "negative_data_rejection"]


@pytest.mark.slow
def test_the_service_does_what_its_description_says(emulate, tmp_path):
    """Every check of schemathesis but these:

    positive_data_acceptance: asks that what fits the description is taken. Random base64 and random
        bytes fit it and are no picture (415), and a URL that fits may be refused (403).
    negative_data_rejection: asks that what does not fit is refused as a whole. A batch is a 200 all
        the same: its bad item is answered in that item's place.
    """
    model = write_tiny_model(tmp_path / "classifier.onnx")
    with emulate({"MODEL_PATH": str(model), **NO_WAY_OUT}) as gateway:
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis as s; s()"),
                *("--config-file", str(CONFIG), "run", f"{gateway.url}/openapi.json"),
                *("--checks", "all", "--exclude-checks", ",".join(EXCLUDED)),
                *("--max-examples", "40", "--seed", "20260101"),
                *("--workers", "1", "--phases", "examples,coverage,fuzzing"),
                *("--generation-database", "none", "--continue-on-failure"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    print(done.stdout[-6000:], done.stderr[-2000:])
    assert done.returncode == 0
