"""A seeded network in, an int8 .tflite file out, by LiteRT's own converter and quantiser.

    python -m benchmarks.litert PX OUT

Their packages lie in a folder of their own under the environment, which only this process has on
its path: their many requirements would clash with ours.
"""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.rounds import ROOT

_FOLDER = "litert"
_CALIBRATION_PICTURES = 16


def packages() -> Path:
    """Where `make .venv-bench` puts LiteRT's packages."""
    return Path(sys.prefix) / _FOLDER


def convert(px: int, out: Path) -> str | None:
    """Convert in a separate process; returns why there is no file, if there is none."""
    if not packages().is_dir():
        return f"LiteRT is not installed in {packages().relative_to(packages().parents[1])}"
    path = os.pathsep.join([str(packages()), str(ROOT)])
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.litert", str(px), str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == 0 and out.is_file():
        return None
    said = result.stderr.strip().splitlines()
    return f"the conversion failed: {said[-1][:200] if said else 'without a word'}"


def main() -> None:
    """Convert to float32, calibrate on drawn pictures, quantise statically to int8."""
    import ai_edge_quantizer
    import litert_torch
    import torch

    from benchmarks.models import BUNDLED, seeded_network
    from benchmarks.photos import pictures
    from serving.model.classifier import Classifier

    px, out = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    batches = [
        torch.from_numpy(one[None]).permute(0, 2, 3, 1).contiguous()  # (1, H, W, 3)
        for one in pictures(Classifier.load(BUNDLED).contract, _CALIBRATION_PICTURES)
    ]
    # LiteRT works on NHWC: given that, the file holds no transposition.
    network = litert_torch.to_channel_last_io(seeded_network(px), args=[0])
    converted = out.with_suffix(".float.tflite")
    litert_torch.convert(network.eval(), (batches[0],)).export(str(converted))
    quantizer = ai_edge_quantizer.Quantizer(str(converted))
    quantizer.load_quantization_recipe(ai_edge_quantizer.recipe.static_wi8_ai8())
    calibration = {"serving_default": [{"args_0": batch.numpy()} for batch in batches]}
    quantizer.quantize(quantizer.calibrate(calibration)).export_model(str(out), overwrite=True)


if __name__ == "__main__":
    main()
