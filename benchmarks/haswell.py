"""Whether a model file answers alike on a processor with AVX2 alone: Lambda promises no more.

qemu stands for that processor (Haswell: AVX2, no AVX-512, no VNNI). Integer kernels for processors
without VNNI can saturate in silence; a file that was only tried where they are exact shows nothing.

    python -m benchmarks.haswell MODEL --data DIR

Where qemu-x86_64 is not installed (Debian: qemu-user) it says so and measures nothing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from serving.model.classifier import Classifier
from serving.model.preprocess import normalize
from train import data
from train.errors import CheckFailedError, TrainError
from train.inference import labelled_split
from train.judging import balanced

EMULATOR = "qemu-x86_64"
PROCESSOR = "Haswell"

# Needs numpy and onnxruntime alone: what else is imported would be emulated, too.
_ANSWER = """
import sys, numpy, onnxruntime
model, batch, out = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
images = numpy.load(batch)
rows = [session.run(None, {name: images[i:i + 1]})[0] for i in range(len(images))]
numpy.save(out, numpy.concatenate(rows))
"""


@dataclass(frozen=True, slots=True)
class Config:
    """Compare a model file's answers here with those on an emulated processor without VNNI."""

    model: tyro.conf.Positional[Path]
    """The ONNX file."""
    data: Path
    """Folder with train/CLASS/*.jpg."""
    photos: int = 50
    """How many photos of train, as many of each class."""
    timeout_s: float = 1800
    """How long the emulated process may take."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""


def main(config: Config) -> None:
    """Run the file in both ways and compare.

    Raises:
        CheckFailedError: a label differs, or the emulated process failed or took too long.
    """
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        print(f"skipped: {EMULATOR} is not installed (Debian: apt-get install qemu-user)")
        return
    classifier = Classifier.load(config.model)
    train = labelled_split(config.data, "train", config.cache, classifier.contract.classes)
    photos = balanced(train, config.photos, seed=0)
    spec = classifier.contract.preprocess
    batch = normalize(data.pixels(photos, spec, config.cache), spec)  # (N, 3, H, W)
    here = np.concatenate([classifier.logits(batch[i : i + 1]) for i in range(len(batch))])
    there = emulated(emulator, config.model, batch, config.timeout_s)
    off = np.abs(classifier.probabilities(here) - classifier.probabilities(there)).max()
    relabelled = int((here.argmax(axis=1) != there.argmax(axis=1)).sum())
    print(
        f"{config.model.name} on {len(batch)} photos, here and on {PROCESSOR} by {EMULATOR}: "
        f"another label on {relabelled}, largest difference of a probability {off:.2e}"
    )
    if relabelled:
        raise CheckFailedError(f"{relabelled} photos are labelled otherwise on {PROCESSOR}.")


def emulated(
    emulator: str, model: Path, batch: NDArray[np.float32], timeout_s: float
) -> NDArray[np.float32]:
    """(N, C) logits of the file on the emulated processor, one photo at a time."""
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder) / "images.npy", Path(folder) / "logits.npy"
        np.save(images, batch)
        words = [emulator, "-cpu", PROCESSOR, os.path.realpath(sys.executable), "-c", _ANSWER]
        # The interpreter proper finds the environment's packages only when it is told of them.
        packages = os.pathsep.join(path for path in sys.path if path.endswith("-packages"))
        try:
            subprocess.run(
                [*words, str(model), str(images), str(out)],
                env={**os.environ, "PYTHONPATH": packages, "OMP_NUM_THREADS": "1"},
                timeout=timeout_s,
                check=True,
                capture_output=True,
                text=True,
            )
        except subprocess.TimeoutExpired as error:
            raise CheckFailedError(f"{EMULATOR} took more than {timeout_s:g} s.") from error
        except subprocess.CalledProcessError as error:
            last = error.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            raise CheckFailedError(
                f"{EMULATOR} ended with code {error.returncode}: {last[0]}"
            ) from error
        logits: NDArray[np.float32] = np.load(out)
        return logits


if __name__ == "__main__":
    try:
        main(tyro.cli(Config, prog="benchmarks.haswell"))
    except TrainError as failure:
        print(f"haswell: {failure}", file=sys.stderr)
        sys.exit(failure.exit_code)
