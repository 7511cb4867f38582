"""Run by test_two_processes.py under torchrun: what each process sees, written as JSON.

usage: two_processes_probe.py OUT RUN DATA CACHE
"""

import json
import sys
from pathlib import Path

import torch

from serving.model.preprocess import PreprocessSpec, scale_and_offset
from tests.photo_folder import manifest_of
from tests.training import tiny_config
from train.fit import loaders
from train.fit.loop import _evaluate
from train.fit.machine import make_accelerator
from train.photos.manifest import Manifest
from train.photos.pixels import cached_pixels
from train.runs.model import load_model

PHOTOS = 23  # odd, and no multiple of the batch: the last batch must be padded


def main(out: Path, run: Path, root: Path, cache: Path) -> None:
    config = tiny_config(root, cache, out / "unused", batch=4)
    accelerator = make_accelerator(config)

    order = loaders.EpochOrder(PHOTOS, seed=0)
    rows = torch.arange(PHOTOS, dtype=torch.float32).unsqueeze(1)
    labels = torch.zeros(PHOTOS, dtype=torch.int64).numpy()
    loader = accelerator.prepare(loaders.feature_loader(config, rows, labels, order))
    seen = [int(row) for batch, _ in loader for row in batch]

    photos = manifest_of(root, "validation")
    photos = Manifest(photos.root, photos.classes, photos.photos[:17])
    spec = PreprocessSpec.square(32)
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    pixels = cached_pixels(photos.of(photos.photos[share]), spec, cache)
    evaluation = loaders.evaluation_loader(pixels, photos.labels()[share], batch=4)
    scale, offset = (torch.from_numpy(c).view(3, 1, 1) for c in scale_and_offset(spec))
    model = load_model(run).network
    figures = _evaluate(model, evaluation, (scale, offset), accelerator, 3)

    answer = {"seen": seen, "figures": figures}
    name = f"{accelerator.num_processes}-{accelerator.process_index}.json"
    (out / name).write_text(json.dumps(answer))
    accelerator.end_training()


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
