"""Measure how much faster a population is scored than by the textbook layout, one by one.

Each candidate is scored by both in turn on the same batch; what the population shares counts for
its first candidate. Ratios are of the sums. The last line is one JSON object.
"""

from __future__ import annotations

import argparse

import torch

import networks
import timing
from nasrun.protocols.space import Mixture


@torch.no_grad()
def score(arguments: argparse.Namespace, statistics: str) -> tuple[float, float, float]:
    """Return seconds of the loop and of the population, and the largest difference of logits."""
    slow, fast = (networks.make(arguments, name) for name in ("edge_major", "state_major"))
    device = torch.device(arguments.device)
    images_BCHW, _ = networks.draw_batch(arguments)
    candidates = [networks.draw_weights(arguments, seed) for seed in range(arguments.population)]
    slow(images_BCHW, candidates[0], statistics=statistics)  # both are warm
    next(fast.each(images_BCHW, candidates, statistics))
    population = fast.each(images_BCHW, candidates, statistics)
    slow_s = fast_s = apart = 0.0
    logits: dict[str, torch.Tensor] = {}

    def one(weights: Mixture) -> None:
        logits["slow"] = slow(images_BCHW, weights, statistics=statistics)

    def another() -> None:
        logits["fast"] = next(population)

    for weights in candidates:
        slow_s += timing.seconds(lambda weights=weights: one(weights), device)  # type: ignore[misc]
        fast_s += timing.seconds(another, device)
        difference = (logits["slow"] - logits["fast"]).abs().max()
        apart = max(apart, float(difference / logits["slow"].abs().max()))
    return slow_s, fast_s, apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    networks.add_arguments(parser)
    parser.add_argument("--population", type=int, default=50)
    arguments = parser.parse_args()
    result = {
        **vars(arguments),
        **timing.machine(torch.device(arguments.device), arguments.threads),
    }
    print(f"{'per candidate':28}{'loop':>15}{'population':>15}{'ratio':>9}")
    for statistics, key in (("batch", "population_ratio"), ("running", "population_ratio_running")):
        slow_s, fast_s, apart = score(arguments, statistics)
        slow_ms, fast_ms = (1e3 * total / arguments.population for total in (slow_s, fast_s))
        ratio = slow_s / fast_s
        print(f"{statistics:28}{slow_ms:12.1f} ms{fast_ms:12.1f} ms{ratio:8.2f}x", flush=True)
        result |= {key: ratio, f"{key}_difference": f"{apart:.1e}"}
    timing.close(result)


if __name__ == "__main__":
    main()
