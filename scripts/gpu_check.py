#!/usr/bin/env python3
"""Show what nasrun does on this GPU, in about ten minutes.

    scripts/gpu_check.py --out gpu_check.md

The main job; an epoch of EG-NAS and one of retraining, at the papers' sizes on made images;
equality with the CPU; peak memory; kernel launches per training step; a forecast of the full
search. `--device cpu` runs the same in small. The report is Markdown.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nasrun.compute.device import Device
from nasrun.config.compose import compose, to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.retrain import Retraining
from nasrun.engine.wiring import Wiring
from nasrun.genotypes.source import resolve
from nasrun.protocols.space import Mixture, as_module

ROOT = Path(__file__).resolve().parents[1]
NUM_PROFILED = 1024  # images; half of them train the weights
PAPER_IMAGES, PAPER_EPOCHS, RETRAIN_EPOCHS = 50_000, 50, 600
PAPER_EXPLORATIONS, PAPER_SCORINGS = 35, 5 * 25 + 5 + 5 + 1  # epochs after warm-up, and of each
Row = tuple[str, str]


class Check:
    """All checks, done on one device; `rows` collects what goes into the report."""

    def __init__(self, device: str, num_images: int) -> None:
        self.device = Device(device, "auto", compile_networks=False).torch
        self.num_images = num_images
        self.rows: list[Row] = []

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def wiring(self, *overrides: str, num_images: int | None = None) -> Wiring:
        """Wire EG-NAS as in the paper, on made images of CIFAR-10's size; no warm-up epochs.

        On a CPU it is small.
        """
        size = num_images or self.num_images
        chosen = ["experiment=egnas_cifar10"] if self.on_gpu else ["strategy=egnas", "space=darts"]
        chosen += ["dataset=synthetic", "dataset.size=32"]
        chosen += ["dataset.num_classes=10", f"dataset.num_train={size}", "dataset.num_test=100"]
        chosen += ["strategy.warmup=0", f"device={self.device}", *overrides]
        return Wiring(to_typed(compose("search", chosen), SearchConfig))

    def timed(self, action: Callable[[], Any]) -> float:
        """Return the seconds of an action, with the work on the device finished."""
        if self.on_gpu:
            torch.cuda.synchronize()
        started = time.perf_counter()
        action()
        if self.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - started

    def add(self, what: str, figure: str) -> None:
        self.rows.append((what, figure))
        print(f"{what}: {figure}", flush=True)

    def main_job(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "nasrun", "search", "strategy=egnas"]
            command += [f"device={self.device}", f"hydra.run.dir={folder}/run"]
            if not self.on_gpu:
                command += ["budget=smoke", "retrain=smoke"]
            seconds = self.timed(
                lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            )
            result = json.loads(Path(f"{folder}/run/result.json").read_text())
        accuracy = result["retrain"]["test_accuracy"]
        self.add("main job on digits", f"{seconds:.0f} s, test accuracy {accuracy:.2%}")

    def search_epoch(self) -> None:
        strategy: Any = self.wiring().strategy
        strategy.epoch = 1
        strategy.look_around()  # tunes kernels
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        train_s = self.timed(strategy.train)
        explore_s = self.timed(strategy.explore)
        scorings = strategy.scorer.num_scorings
        space = self.wiring().space
        self.add(
            f"EG-NAS epoch, {space.channels} channels, {space.cells} cells",
            f"{train_s:.1f} s for {self.num_images // 2:,} images "
            f"({self.num_images / 2 / train_s:,.0f} images/s)",
        )
        self.add("its evolution strategies", f"{explore_s:.1f} s for {scorings} scorings")
        self.add("peak memory of search", self.peak_memory())
        search_s = PAPER_EPOCHS * train_s * PAPER_IMAGES / self.num_images
        search_s += PAPER_EXPLORATIONS * explore_s * PAPER_SCORINGS / scorings
        hours = search_s / 3600
        size = "" if self.on_gpu else ", at this small size"
        self.add(f"forecast of 50 epochs{size}", f"{hours:.2f} h, {hours / 24:.3f} device-days")

    def peak_memory(self) -> str:
        if self.on_gpu:
            return f"{torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB on the device"
        return (
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MiB of the process"
        )

    def retraining_epoch(self) -> None:
        num_images = self.num_images // 8
        recipe = "darts600" if self.on_gpu else "smoke"
        wiring = self.wiring(f"retrain={recipe}", num_images=num_images)
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        training = Retraining(wiring, resolve("darts_v2"), wiring.settings.retrain)
        training.step()  # tunes kernels
        seconds = self.timed(training.step)
        per_second = num_images / seconds
        size = training.config
        cells = size.cells or wiring.space.cells
        what = f"retraining darts_v2, {size.channels} channels, {cells} cells"
        self.add(what, f"{per_second:,.0f} images/s")
        self.add("peak memory of retraining", self.peak_memory())
        hours = RETRAIN_EPOCHS * PAPER_IMAGES / per_second / 3600
        self.add("forecast of 600 epochs on 50,000 images", f"{hours:.1f} h")

    def equality(self) -> None:
        """Compare loss and gradients of one batch, same weights, with float32 on the CPU."""
        reference = self.loss_and_gradient("device=cpu", "precision=float32")
        for precision in ("float32", "bfloat16"):
            loss, gradient_P = self.loss_and_gradient(f"precision={precision}")
            loss_off = abs(loss - reference[0]) / abs(reference[0])
            gradient_off = float((gradient_P - reference[1]).norm() / reference[1].norm())
            self.add(
                f"{precision} here against float32 on the CPU",
                f"loss differs by {loss_off:.1e}, gradient by {gradient_off:.1e} (relative)",
            )

    def loss_and_gradient(self, *overrides: str) -> tuple[float, torch.Tensor]:
        wiring = self.wiring(*overrides, num_images=256)
        strategy: Any = wiring.strategy
        images_BCHW, labels_B = strategy.scorer.draw_batch(64)
        weights = strategy.scorer.on_device(Mixture(strategy.mixing_weights(strategy.alpha_D)))
        network = strategy.scorer.supernet
        with wiring.device.autocast():
            logits_BK = network(images_BCHW, weights, statistics="batch")
        loss = torch.nn.functional.cross_entropy(logits_BK.float(), labels_B)
        loss.backward()
        gradients = [
            p.grad.flatten() for p in as_module(network).parameters() if p.grad is not None
        ]
        return loss.item(), torch.cat(gradients).float().cpu()

    def launches(self) -> None:
        wiring = self.wiring(num_images=NUM_PROFILED)
        batch_size = wiring.search_settings.strategy["batch_size"] or wiring.dataset.batch_size
        strategy: Any = wiring.strategy
        strategy.train()
        activity = ProfilerActivity.CUDA if self.on_gpu else ProfilerActivity.CPU
        with profile(activities=[activity]) as trace:
            strategy.train()
        wanted = (lambda name: True) if self.on_gpu else (lambda name: name.startswith("aten::"))
        calls = sum(event.count for event in trace.key_averages() if wanted(event.key))
        what = "kernels launched" if self.on_gpu else "operator calls (nested ones too)"
        self.add(
            f"{what} in a training step of the supernet",
            f"{calls / (NUM_PROFILED / 2 / batch_size):,.0f}",
        )

    def report(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.on_gpu else platform.processor()
        title = f"# nasrun on {name or self.device} ({date.today().isoformat()})"
        software = f"torch {torch.__version__}, CUDA {torch.version.cuda}, {platform.platform()}"
        table = ["| what | figure |", "|---|---|", *(f"| {a} | {b} |" for a, b in self.rows)]
        return "\n".join([title, "", software, "", *table, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, help="of an epoch (50,000 on a GPU, 512 elsewhere)")
    parser.add_argument("--out", type=Path, default=Path("gpu_check.md"))
    arguments = parser.parse_args()
    on_gpu = torch.cuda.is_available() and arguments.device != "cpu"
    check = Check(arguments.device, arguments.images or (PAPER_IMAGES if on_gpu else 512))
    for part in (check.main_job, check.equality, check.launches):
        part()
    check.search_epoch()
    check.retraining_epoch()
    arguments.out.write_text(check.report())
    print(f"report: {arguments.out}")


if __name__ == "__main__":
    main()
