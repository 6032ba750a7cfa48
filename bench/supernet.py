"""Measure how much faster a supernet is than the textbook layout with the same weights.

Train steps and forward passes are timed in turn; calls are those of operators that do work, in a
train step. `--memory` measures what a train step adds to a fresh process, `--growth` how it grows
with cells, channels and batch. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import nn

import networks
import timing


def forward(arguments: argparse.Namespace, network: nn.Module) -> Callable[[], None]:
    (images_BCHW, _), weights = networks.draw_batch(arguments), networks.draw_weights(arguments)

    @torch.no_grad()
    def act() -> None:
        network(images_BCHW, weights, statistics="batch")

    return act


def growth(arguments: argparse.Namespace) -> dict[str, float]:
    """Return how a train step grows with a size that is doubled, relative to linear growth.

    For channels it is relative to square growth: four times the seconds.
    """
    device = torch.device(arguments.device)
    found = {}
    base = networks.train_step(arguments, "state_major")
    for name, factor in (("cells", 2), ("batch", 2), ("channels", 4)):
        larger = argparse.Namespace(**{**vars(arguments), name: 2 * getattr(arguments, name)})
        step = networks.train_step(larger, "state_major")
        pairs = timing.paired(step, base, arguments.repeats, device)
        print(pairs.row(f"2x {name} / as it is"), f"(linear: {factor}x)")
        found[f"growth_{name}"] = pairs.ratio / factor
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    networks.add_arguments(parser)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--growth", action="store_true")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    slow, fast = (networks.make(arguments, name) for name in ("edge_major", "state_major"))
    result = {
        **vars(arguments),
        **timing.machine(device, arguments.threads),
        "logits_difference": f"{networks.difference(arguments, slow, fast):.1e}",
    }
    print(f"{'':28}{'edge-major':>15}{'state-major':>15}{'ratio':>9}")
    steps = [networks.train_step(arguments, name) for name in ("edge_major", "state_major")]
    passes = [forward(arguments, network) for network in (slow, fast)]
    for name, (textbook, ours) in (("train_step", steps), ("forward", passes)):
        pairs = timing.paired(textbook, ours, arguments.repeats, device)
        print(pairs.row(name), flush=True)
        result[f"{name}_ratio"] = pairs.ratio
        result[f"{name}_ms"] = 1e3 * sorted(pairs.fast_s)[len(pairs.fast_s) // 2]
    calls = [timing.count_calls(step) for step in steps]
    print(f"{'operator calls':28}{calls[0]:15}{calls[1]:15}{calls[0] / calls[1]:8.2f}x")
    result["operator_calls_ratio"] = calls[0] / calls[1]
    if arguments.memory and device.type == "cpu":
        memory = [
            timing.peak_memory_mb(networks.train_step, arguments, name)
            for name in ("edge_major", "state_major")
        ]
        print(f"{'memory':28}{memory[0]:12.0f} MB{memory[1]:12.0f} MB{memory[0] / memory[1]:8.2f}x")
        result["memory_ratio"] = memory[0] / memory[1]
    if arguments.growth:
        result |= growth(arguments)
    timing.close(result)


if __name__ == "__main__":
    main()
