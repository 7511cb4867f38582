"""Steps in, a rough time for each out, measured in about a second of its real work.

For a fit, training steps on random pixels, with its teachers' inference; for other steps, the
network's inference. Networks are built with their starting weights, so that missing weights or an
unsupported size stop a build before its first step.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from serving.model.preprocess import PreprocessSpec
from train.config import FitConfig, NetworkConfig
from train.export.input_size import FrontierConfig
from train.export.onnx import ExportConfig
from train.export.quantize import QuantizeConfig
from train.fit import optim
from train.fit.augmentation import augmentation, base_spec
from train.fit.distillation import distillation_loss, joint_teacher
from train.fit.machine import precision_of
from train.networks.transfer import Network, build, require_trainable
from train.recipes.photos import Part, Photos

# Time to measure one kind of work; a fit has up to three: training, augmentation, evaluation.
_TRIED_S = 0.4

# Photos per measured step; more would only take longer on a CPU.
_FEW = 4

# What writing an ONNX file, or making and loading an int8 one, takes beside the photos: guesses.
_EXPORT_S, _CANDIDATE_S = 8.0, 6.0


class Stopwatch:
    """Estimates the time of steps; remembers the inference time of each network."""

    def __init__(self, photos: Photos) -> None:
        self._photos = photos
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._inference_s: dict[NetworkConfig, float] = {}

    def fit(
        self, config: FitConfig, teachers: Sequence[FitConfig], part: Part, *, resumed: bool
    ) -> float:
        """Estimated seconds of a fit; one that is resumed has its weights in a checkpoint.

        Raises:
            UsageError: its weights cannot be loaded, or its network does not support its size.
        """
        shape = _untrained(config.network) if config.start or resumed else config.network
        whole = build(shape, len(self._photos.classes))
        require_trainable(whole, config, config.batch)
        whole = whole.to(self._device)
        if config.on_features:
            once = (part.photos + part.choosing) * self.inference(config.network)
            return once + config.epochs * part.photos * self._head(config, whole)
        answering = [self._built(teacher.network) for teacher in teachers]
        sizes = config.training_px
        each = sum(self._photo(config, whole, answering, px) for px in sizes) / len(sizes)
        measuring = part.choosing * self.inference(config.network)
        return config.epochs * (part.photos * each + measuring)

    def inference(self, config: NetworkConfig, input_px: int = 0) -> float:
        """Seconds per photo for a network's inference, at its own input size or another."""
        px = input_px or config.input_px
        own = self._inference_s.get(config)
        if own is None:
            images = self._images(config.input_px)
            whole = self._built(config)
            with torch.inference_mode():
                own = self._seconds(lambda: whole(images)) / len(images)
            self._inference_s[config] = own
        return own * (px / config.input_px) ** 2

    def other(self, verb: str, config: Any, run: NetworkConfig) -> float:
        """Estimated seconds of a verb that works on a run."""
        measured = self._photos.validation.photos
        each = self.inference(run)
        if isinstance(config, FrontierConfig):
            return sum(_EXPORT_S + measured * self.inference(run, px) for px in config.sizes)
        if isinstance(config, ExportConfig):
            return _EXPORT_S + 2 * measured * self.inference(run, config.input_px or 0)
        if isinstance(config, QuantizeConfig):
            made = len(config.methods) * len(config.weights) * len(config.float_first)
            ranges = len(config.methods) * config.photos * each
            return ranges + made * (_CANDIDATE_S + measured * each)
        if verb == "bundle":
            tested = self._photos.test.photos if self._photos.test else 0
            return _EXPORT_S + 3 * (measured + tested) * each
        return 0.0

    def _photo(
        self, config: FitConfig, whole: Network, teachers: Sequence[nn.Module], size_px: int
    ) -> float:
        """Seconds per photo for augmentation and a training step."""
        shown = self._images(max(size_px, config.teacher_px))
        images = self._images(size_px)
        teach = joint_teacher(teachers, compiled=False) if teachers else None
        step = self._step(config, whole, whole, images, (lambda: teach(shown)) if teach else None)
        learning = self._seconds(step) / len(images)
        cores = torch.get_num_threads()
        augmenting = self._augmenting(config, max(size_px, config.teacher_px)) / cores
        return learning + augmenting if self._device.type == "cpu" else max(learning, augmenting)

    def _head(self, config: FitConfig, whole: Network) -> float:
        """Seconds per photo for training the head on features."""
        with torch.no_grad():
            features = whole.backbone(self._images(config.network.input_px))
        features = features[:1].expand(config.batch, -1).clone()  # (B, F)
        return self._seconds(self._step(config, whole, whole.head, features, None)) / config.batch

    def _step(
        self,
        config: FitConfig,
        whole: Network,
        trained: nn.Module,
        inputs: Tensor,
        taught: Callable[[], Tensor] | None,
    ) -> Callable[[], None]:
        """A function that takes one training step with this network."""
        optimizer = optim.make_optimizer(config, whole)
        labels = torch.arange(len(inputs), device=self._device) % len(self._photos.classes)
        mixed = precision_of(config)
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(mixed)

        def step() -> None:
            autocast = torch.autocast(self._device.type, dtype) if dtype else nullcontext()
            with autocast:
                logits = trained(inputs)  # (B, C)
                loss = cross_entropy(logits, labels)
                if taught is not None:
                    loss = distillation_loss(logits, taught(), loss, config.teacher_weight)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()

        trained.train()
        return step

    def _augmenting(self, config: FitConfig, size_px: int) -> float:
        px = base_spec(PreprocessSpec.square(size_px)).height_px
        photo = torch.randint(0, 256, (3, px, px), dtype=torch.uint8)
        transform = augmentation(config.augment, size_px)
        return self._seconds(lambda: transform(photo))

    def _built(self, config: NetworkConfig) -> nn.Module:
        whole = build(_untrained(config), len(self._photos.classes))
        return whole.eval().to(self._device)

    def _images(self, px: int) -> Tensor:
        return torch.randn(_FEW, 3, px, px, device=self._device).contiguous(
            memory_format=torch.channels_last
        )

    def _seconds(self, work: Callable[[], object]) -> float:
        """Mean seconds per call over `_TRIED_S` seconds, after an uncounted first call."""
        work()
        self._wait()
        started, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - started < _TRIED_S:
            work()
            calls += 1
            self._wait()
        return (time.perf_counter() - started) / calls

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def _untrained(config: NetworkConfig) -> NetworkConfig:
    return replace(config, weights="none")
