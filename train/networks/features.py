"""The features of a frozen backbone, computed once and cached: (N, H, W, 3) pixels -> (N, F).

A backbone that is not trained gives the same features in every epoch, so only the head has to be
run again. They are cached photo by photo; their kind holds the weights and the preprocessing.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from serving.model.preprocess import PreprocessSpec, normalize
from train.photos import scan
from train.photos.manifest import Manifest
from train.photos.pixels import cached_pixels, in_batches
from train.store import Store

_BATCH = 64
# So many batches are written at once; a killed run computes as many again.
_BATCHES_WRITTEN = 16

Features = NDArray[np.float32]


def cached_features(
    backbone: nn.Module,
    manifest: Manifest,
    spec: PreprocessSpec,
    cache: Path,
    device: torch.device,
    *,
    kind: str = "",
) -> Features:
    """(N, F) float32: one row for each photo of the manifest, in the same order.

    `kind` names what the module computes, where its weights do not determine it.
    """
    key = f"features-{_key(backbone, spec, kind)}"
    with closing(Store(cache)) as store:
        features, missing = _read(store, key, manifest)
        if not missing:
            return features
        lacking = manifest.of(manifest.photos[n] for n in missing)
        hashes = [bytes.fromhex(photo.sha256) for photo in lacking.photos]
        done = written = 0
        for rows in _computed(backbone, lacking, spec, cache, device):
            if not features.size:
                features = np.empty((len(manifest.photos), rows.shape[1]), np.float32)
            if not done:
                has_room = store.make_room(len(missing) * features[:1].nbytes)
            features[missing[done : done + len(rows)]] = rows
            done += len(rows)
            if has_room and (done == len(missing) or done - written == _BATCH * _BATCHES_WRITTEN):
                with store.writing():
                    store.put_rows(key, hashes[written:done], features[missing[written:done]])
                written = done
    return features


def _key(backbone: nn.Module, spec: PreprocessSpec, kind: str) -> str:
    """Everything that features depend on, except the photos."""
    key = hashlib.sha256(f"{scan.CACHE_VERSION} {spec}{kind}\n".encode())
    for name, tensor in sorted(backbone.state_dict().items()):
        key.update(name.encode())
        key.update(tensor.cpu().contiguous().numpy().tobytes())
    return key.hexdigest()[:32]


def _read(store: Store, key: str, manifest: Manifest) -> tuple[Features, list[int]]:
    """The cached rows, at their places among N; and the numbers of the photos that have none."""
    places, files = store.places(key, [bytes.fromhex(each.sha256) for each in manifest.photos])
    in_shard = defaultdict[int, list[int]](list)
    for number, place in enumerate(places):
        if place is not None:
            in_shard[place[0]].append(number)
    features = np.empty((len(places), store.row_bytes(key) // 4), np.float32)
    missing = [number for number, place in enumerate(places) if place is None]
    for shard, numbers in in_shard.items():
        rows = [place[1] for number in numbers if (place := places[number])]
        try:
            whole = np.fromfile(files[shard], np.float32).reshape(-1, features.shape[1])
            features[numbers] = whole[rows]
        except (OSError, LookupError):  # another run evicts it now
            missing += numbers
    return features, sorted(missing)


@torch.inference_mode()
def _computed(
    backbone: nn.Module, manifest: Manifest, spec: PreprocessSpec, cache: Path, device: torch.device
) -> Iterator[Features]:
    """(n, F) of each batch of photos."""
    backbone = backbone.to(device).eval()
    pixels = cached_pixels(manifest, spec, cache)
    with tqdm(total=len(pixels), desc="features", unit="img", leave=False) as bar:
        for photos in in_batches(pixels, _BATCH):
            batch = torch.from_numpy(normalize(photos, spec)).to(device)
            batch = batch.contiguous(memory_format=torch.channels_last)
            yield backbone(batch).float().cpu().numpy()
            bar.update(len(batch))
