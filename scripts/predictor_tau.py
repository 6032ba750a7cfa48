#!/usr/bin/env python3
"""Measure how a predictor ranks the rest of a space: Kendall's tau after so many random labels.

    scripts/predictor_tau.py predictor=dcl space=nasbench201 dataset=cifar10 --at 30 50 100

Arguments are overrides of `nasrun search`. Every draw of labels has a seed of its own, and with it
an encoder where the predictor has one (five are used in turn). Architectures that are isomorphic
to a labelled one are left out. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nasrun.config import plugins
from nasrun.config.compose import compose, to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.evaluators.table import TableEvaluator
from nasrun.graphs.one_edit_pairs import OneEditPairs
from nasrun.protocols.evaluation import Evaluation
from nasrun.protocols.predictor import Ranking
from nasrun.strategies.guided.free_figures import FreeFigures

ENCODER_SEEDS = (11, 12, 13, 14, 15)
NUM_HELD_OUT = 20_000
FIRST_SEED = 100


def taus(settings: SearchConfig, seed: int, at: list[int]) -> list[float]:
    """Return tau after each count, with one draw of labels."""
    node = dict(settings.predictor)
    if "encoder_seed" in node:
        node["encoder_seed"] = ENCODER_SEEDS[seed % len(ENCODER_SEEDS)]
    wiring = Wiring(settings)
    evaluator = wiring.raw_evaluator
    assert isinstance(evaluator, TableEvaluator)
    predictor = plugins.build(node, torch.Generator().manual_seed(seed))
    predictor.pretrain(OneEditPairs(wiring.space), lambda *_, **__: None)
    features = predictor.features
    free = None if features == "code" else FreeFigures(wiring, features)
    rows = np.random.default_rng(seed).permutation(evaluator.table.num_rows)[: max(at)]
    labels: list[Evaluation] = evaluator.evaluate([evaluator.table.genotype(row) for row in rows])
    found = []
    for count in at:
        known = [label.genotype for label in labels[:count]]
        graphs = [wiring.space.graph(genotype) for genotype in known]
        rest, rest_graphs, accuracy_N = evaluator.held_out(labels[:count], NUM_HELD_OUT)
        if free is not None:
            graphs, rest_graphs = free.beside(known, graphs), free.beside(rest, rest_graphs)
        predictor.fit(graphs, 1.0 - np.array([label.values[0] for label in labels[:count]]))
        tau = Ranking(predictor.score(rest_graphs).score_N, accuracy_N).tau
        found.append(float("nan") if tau is None else tau)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--at", nargs="+", type=int, default=[30, 50, 100], help="label counts")
    parser.add_argument("--draws", type=int, default=20, help="of labels")
    arguments = parser.parse_args()
    try:
        overrides = ["strategy=dclenas", "evaluator=table", *arguments.overrides]
        settings = to_typed(compose("search", overrides), SearchConfig)
        seeds = range(FIRST_SEED, FIRST_SEED + arguments.draws)
        all_taus = np.array([taus(settings, seed, arguments.at) for seed in seeds])
    except UsageError as error:
        sys.exit(f"predictor_tau: {error}")
    means = all_taus.mean(axis=0)
    errors = all_taus.std(axis=0, ddof=1) / np.sqrt(len(all_taus))
    for count, mean, error in zip(arguments.at, means, errors, strict=True):
        print(f"{count:5} labels   tau {mean:.3f} +- {error:.3f} (standard error)")
    print(json.dumps({"at": arguments.at, "tau": means.round(4).tolist()}))


if __name__ == "__main__":
    main()
