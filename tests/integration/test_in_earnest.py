"""What a machine refuses in earnest ends a verb with one line that says what to do."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.photo_folder import in_splits
from tests.verbs import SMALL, Places, one_line

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits and namespaces of Linux")


def run_train(words: Sequence[str], *before: str) -> tuple[int, str]:
    """Run a verb in a process of its own; its exit code and what it writes to stderr."""
    command = [*before, sys.executable, "-m", "train", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stderr


# --- Memory


@LINUX
@pytest.mark.slow
def test_a_container_with_little_shared_memory_is_told_how_to_get_more(tmp_path: Path):
    own_mounts = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-r", "--mount"]
    small = 'mount -t tmpfs -o size=256k tmpfs /dev/shm && exec "$0" "$@"'
    before = [*own_mounts, "sh", "-c", small]
    if (
        not shutil.which("unshare")
        or subprocess.run([*before, "true"], capture_output=True).returncode
    ):
        pytest.skip("this user may not mount a small /dev/shm of its own")
    in_splits(train=15, validation=5)(tmp_path / "photos")
    words = f"fit --data {tmp_path}/photos --cache {tmp_path}/cache --out {tmp_path}/run {SMALL}"
    words += " --augment light --input-px 128 --batch 30 --workers 1"
    code, error = run_train(words.split(), *before)
    assert code == 1
    assert "--shm-size" in one_line(error, "fit")


# The limit of address space comes after the libraries are there, so that a step exceeds it.
WITH_LITTLE_MEMORY = """
import resource, sys
import train.fit.loop
from train.__main__ import main
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 700_000_000,) * 2)
sys.exit(main(sys.argv[1:]))
"""


@LINUX
@pytest.mark.slow
def test_a_step_that_needs_more_memory_than_there_is_names_the_batch(tmp_path: Path):
    in_splits(train=60, validation=2)(tmp_path / "photos")
    words = f"fit --data {tmp_path}/photos --cache {tmp_path}/cache --out {tmp_path}/run {SMALL}"
    words += " --train-backbone --batch 120 --backbone resnet18 --input-px 224"
    done = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY, *words.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=240,
    )
    assert done.returncode == 1
    line = one_line(done.stderr, "fit")
    assert "Out of memory" in line
    assert "--batch" in line


# --- Permission

# Root may read everything, until it gives that right up.
AS_ANYBODY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
LOCKED = """
import contextlib, io, json, sys, traceback
from pathlib import Path
from train.__main__ import main
for words, locked, mode in json.load(sys.stdin):
    path, errors = Path(locked), io.StringIO()
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            code = main(words)
    except BaseException:
        code = traceback.format_exc()
    finally:
        path.chmod(before)
    print(json.dumps([code, errors.getvalue()]))
"""


READ_A_RUN = (
    *("fit --start", "fit --teacher", "evaluate", "predict", "export", "quantize"),
    *("frontier", "bundle"),
)
# What may not be read or, with its mode, written, and the verbs that stop at it.
NO_PERMISSION: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    (".", 0o555, ("fit", "build", "bundle")),  # first: the others make their folders here
    ("photos", 0, ("inspect", "fit", "build")),
    ("photos/train", 0, ("inspect", "fit", "build")),
    ("photos/train/red", 0, ("inspect", "fit", "build")),
    ("photos/train/red/1.jpg", 0, ("inspect", "fit", "build")),
    ("labels.csv", 0, ("inspect a table",)),
    ("cache-splits", 0, ("fit flat",)),
    ("cache", 0o555, ("fit", "build")),
    ("small.toml", 0, ("build",)),
    ("run/weights.pt", 0, ("fit weights", "build")),
    ("run/last.pt", 0, ("fit --resume",)),
    ("run/config.json", 0, ("fit --resume",)),
    ("run/classifier.onnx", 0, ("predict FILE", "evaluate FILE", "quantize", "bundle")),
    ("run", 0, READ_A_RUN),
    ("run/model.pt", 0, READ_A_RUN),
)


@LINUX
def test_what_may_not_be_read_or_written_is_named(places: Places):
    cases = [(at, mode, verb) for at, mode, verbs in NO_PERMISSION for verb in verbs]
    asked = [[places.words(verb), str(places.root / at), mode] for at, mode, verb in cases]
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root reads everything: run the tests as another user, or install setpriv")
    done = subprocess.run(
        [*(AS_ANYBODY if os.geteuid() == 0 else []), sys.executable, "-c", LOCKED],
        cwd=ROOT,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    for (at, _, verb), line in zip(cases, done.stdout.splitlines(), strict=True):
        code, error = json.loads(line)
        said = one_line(f"{error}{code if isinstance(code, str) else ''}", verb.split()[0])
        assert code in (1, 2), (at, verb)
        assert at == "." or Path(at).name in said, (at, verb, said)
        assert re.search("ermission denied|not writable|cannot be read", said), (at, verb, said)
