"""The features of a frozen backbone, computed once and cached: (N, H, W, 3) pixels -> (N, F).

A backbone that is not trained gives the same features in every epoch, so only the head has to be
run again. The cache's key holds the photos' contents, the weights and the preprocessing.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from serving.model.preprocess import PreprocessSpec, normalize
from train.files import write_whole
from train.photos import pixels
from train.photos.manifest import Manifest

_BATCH = 64


def cached_features(
    backbone: nn.Module,
    manifest: Manifest,
    spec: PreprocessSpec,
    cache: Path,
    device: torch.device,
    *,
    kind: str = "",
) -> NDArray[np.float32]:
    """(N, F) float32: one row for each photo of the manifest, in the same order.

    `kind` names what the module computes, where its weights do not determine it.
    """
    key = hashlib.sha256(f"{pixels.CACHE_VERSION} {spec}{kind}\n".encode())
    for name, tensor in sorted(backbone.state_dict().items()):
        key.update(name.encode())
        key.update(tensor.cpu().contiguous().numpy().tobytes())
    for photo in manifest.photos:
        key.update(bytes.fromhex(photo.sha256))
    file = cache / f"features-{key.hexdigest()[:32]}.npy"
    if not file.is_file():
        features = _extract(backbone, pixels.cached_pixels(manifest, spec, cache), spec, device)
        write_whole(file, lambda handle: np.save(handle, features))
    loaded: NDArray[np.float32] = np.load(file)
    return loaded


@torch.inference_mode()
def _extract(
    backbone: nn.Module, photos: NDArray[np.uint8], spec: PreprocessSpec, device: torch.device
) -> NDArray[np.float32]:
    backbone = backbone.to(device).eval()
    rows = []
    with tqdm(total=len(photos), desc="features", unit="img", leave=False) as bar:
        for start in range(0, len(photos), _BATCH):
            batch = torch.from_numpy(normalize(photos[start : start + _BATCH], spec)).to(device)
            batch = batch.contiguous(memory_format=torch.channels_last)
            rows.append(backbone(batch).float().cpu().numpy())  # (n, F)
            bar.update(len(batch))
    return np.concatenate(rows)
