"""Measure how much faster retraining is than a plain DARTS-style loop with the same recipe.

The plain loop augments image by image with PIL in a DataLoader with 2 workers, keeps images
channels-first and calls dilated convolutions as they are. Both train on the same made images, one
epoch each in turn, so that a drifting machine slows both; the ratio is the median of pairs. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nasrun.config.compose import compose, to_typed
from nasrun.config.schema import RetrainCommandConfig
from nasrun.engine.retrain import Retraining
from nasrun.engine.wiring import Wiring
from nasrun.genotypes.source import resolve
from nasrun.networks.blocks.convolution import Depthwise
from nasrun.protocols.space import NetworkSize, as_module


class Pictures(Dataset[Any]):
    """PIL images, augmented one by one as DARTS does on CIFAR-10."""

    def __init__(self, images_NCHW: torch.Tensor, labels_N: torch.Tensor, cutout: bool) -> None:
        size = images_NCHW.shape[-1]
        self.pictures = [transforms.functional.to_pil_image(image) for image in images_NCHW]
        self.labels = labels_N.tolist()
        steps = [transforms.RandomCrop(size, padding=size // 8), transforms.RandomHorizontalFlip()]
        steps += [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)]
        square = (0.25, 0.25)  # of the area: DARTS's cutout of half the side
        steps += [transforms.RandomErasing(1.0, square, (1.0, 1.0))] if cutout else []
        self.augment = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.augment(self.pictures[index]), self.labels[index]


class PlainLoop:
    """An epoch of the textbook loop."""

    def __init__(self, wiring: Wiring, genotype: Any, device: torch.device) -> None:
        config = wiring.settings.retrain
        self.config, self.device = config, device
        size = NetworkSize(config.channels, config.cells, config.auxiliary_weight > 0, "cifar")
        network = wiring.space.network(genotype, wiring.dataset.shape, size)
        self.network = cast(Any, as_module(network))
        for module in self.network.modules():
            if isinstance(module, Depthwise):  # a subclass that only differs in its forward
                module.forward = nn.Conv2d.forward.__get__(module)  # type: ignore[method-assign]
        self.network.to(device)
        self.network.drop_path = config.drop_path / 2
        train: Any = wiring.dataset.train
        (raw,) = train.batches(torch.arange(len(train)), len(train), torch.device("cpu"))
        images_NCHW, labels_N = raw
        pictures = Pictures(images_NCHW, labels_N, config.cutout)
        batch_size = config.batch_size or wiring.dataset.batch_size
        self.loader = DataLoader(pictures, batch_size, shuffle=True, num_workers=2)
        self.optimiser = torch.optim.SGD(
            self.network.parameters(), config.learning_rate, config.momentum, weight_decay=3e-4
        )

    def epoch(self) -> None:
        self.network.train()
        for images, labels in self.loader:
            images, labels = images.to(self.device), labels.to(self.device)
            logits, auxiliary = self.network.with_auxiliary(images)
            loss = F.cross_entropy(logits, labels)
            if auxiliary is not None:
                loss = loss + self.config.auxiliary_weight * F.cross_entropy(auxiliary, labels)
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimiser.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genotypes", nargs="+", default=["darts_v2", "eg_nas_cifar10"])
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ratios = []
    print(f"{'genotype':24}{'plain':>14}{'nasrun':>14}{'ratio':>9}")
    for name in arguments.genotypes:
        overrides = [f"genotype={name}", "dataset=synthetic", f"dataset.size={arguments.size}"]
        overrides += [f"dataset.num_train={arguments.images}", "dataset.num_test=8", "space=darts"]
        overrides += ["dataset.crop_padding=4", "dataset.flip=true", "dataset.cutout_length=16"]
        overrides += ["retrain=darts600", f"retrain.channels={arguments.channels}"]
        overrides += [f"retrain.cells={arguments.cells}", f"retrain.batch_size={arguments.batch}"]
        overrides += [f"device={arguments.device}"]
        wiring = Wiring(to_typed(compose("retrain", overrides), RetrainCommandConfig))
        genotype = resolve(name)
        ours = Retraining(wiring, genotype, wiring.settings.retrain)
        plain = PlainLoop(wiring, genotype, wiring.device.torch)
        ours.step()
        plain.epoch()
        pairs = []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            plain.epoch()
            middle = time.perf_counter()
            ours.step()
            pairs.append((middle - start, time.perf_counter() - middle))
        ratio = statistics.median(slow / fast for slow, fast in pairs)
        ratios.append(ratio)
        slow, fast = (arguments.images / statistics.median(one) for one in zip(*pairs, strict=True))
        print(f"{name:24}{slow:9.1f} im/s{fast:9.1f} im/s{ratio:8.2f}x", flush=True)
    result = {**vars(arguments), "retrain_ratio": round(min(ratios), 3)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
