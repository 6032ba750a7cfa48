"""What every space promises, for each option in conf/space: nothing here names a space."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import (
    ArchGraph,
    Mixture,
    NetworkSize,
    SearchSpace,
    as_module,
)
from tests import made_tables

FOLDER = Path(__file__).parents[2] / "conf" / "space"
DIGITS, COLOURS = TaskShape(1, (8, 8), 10), TaskShape(3, (32, 32), 7)
LARGE = TaskShape(1, (64, 64), 10)


def load(name):
    """The node of an option, the options that its defaults list names merged as Hydra does it."""
    node = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    merged = {}
    for part in node.pop("defaults", ["_self_"]):
        merged.update(node if part == "_self_" else load(part))
    return merged


@pytest.fixture(params=sorted(path.stem for path in FOLDER.glob("*.yaml")), scope="module")
def space(request, tmp_path_factory):
    node = load(request.param)
    if "file" in node:  # a space that is read from a table
        node["file"] = str(made_tables.write_genes(tmp_path_factory.mktemp("space")))
    module, _, name = node.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name)(**node)


@pytest.fixture
def relaxed(space):
    if not space.differentiable:
        pytest.skip(f"{space.name} is not differentiable")
    return space


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def shape(space):
    """The small images; larger ones where three strided convolutions come first; or a signal where
    the space takes no images. A space may have no networks at all."""
    if not space.takes:
        genotype = space.sample(np.random.default_rng(0))
        with pytest.raises(UsageError, match="has no networks"):
            space.network(genotype, DIGITS, NetworkSize())
        with pytest.raises(UsageError, match="has no networks"):
            space.params_and_flops(genotype, DIGITS, NetworkSize())
        pytest.skip(f"{space.name} has no networks")
    try:
        space.network(space.sample(np.random.default_rng(0)), DIGITS, NetworkSize())
    except UsageError:
        return TaskShape(1, (64,), 5)
    return LARGE if getattr(space, "stem", "cifar") == "imagenet" else DIGITS


def inputs(shape, num_images=4):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_images, shape.channels, *shape.size, generator=generator)


def sampled(space, count=20):
    rng = np.random.default_rng(1)
    return [space.sample(rng) for _ in range(count)]


# ---------------------------------------------------------------------------- genotypes


def test_the_file_begins_with_a_gloss():
    for path in FOLDER.glob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# "), path.name


def test_it_satisfies_the_protocol(space):
    assert isinstance(space.name, str)
    assert all(cardinality >= 1 for cardinality in space.cardinalities)
    assert space.differentiable == bool(len(space.operations))
    for member, default in vars(SearchSpace).items():
        if callable(default) and not member.startswith("_"):
            assert callable(getattr(space, member)), member


def test_samples_are_valid_reproducible_and_different(space):
    genotypes = sampled(space)
    assert genotypes == sampled(space)
    assert len(set(genotypes)) > 5
    for genotype in genotypes:
        assert genotype.space == space.name
        space.validate(genotype)


def test_encode_and_decode_are_inverse(space):
    for genotype in sampled(space):
        genes = space.encode(genotype)
        assert len(genes) == len(space.cardinalities)
        assert all(0 <= gene < n for gene, n in zip(genes, space.cardinalities, strict=True))
        assert space.decode(genes) == genotype
        assert space.encode(space.decode(list(genes))) == genes


def test_mutation_changes_exactly_one_gene(space, rng):
    for genotype in sampled(space):
        child = space.mutate(genotype, rng)
        space.validate(child)
        pairs = zip(space.encode(genotype), space.encode(child), strict=True)
        assert sum(first != second for first, second in pairs) == 1


def one_gene_changed(space, genotype):
    """All valid genotypes that differ in one gene: position of the gene -> genotypes."""
    genes = space.encode(genotype)
    found = {}
    for position, cardinality in enumerate(space.cardinalities):
        for value in set(range(cardinality)) - {genes[position]}:
            other = space.decode([*genes[:position], value, *genes[position + 1 :]])
            with contextlib.suppress(UsageError):
                space.validate(other)
                found.setdefault(position, []).append(other)
    return found


def test_mutation_reaches_every_gene_that_can_change(space, rng):
    parent = space.sample(rng)
    genes = np.array(space.encode(parent))
    changed = {
        int(np.flatnonzero(np.array(space.encode(space.mutate(parent, rng))) != genes)[0])
        for _ in range(40 * len(genes))
    }
    assert changed == set(one_gene_changed(space, parent))


def test_neighbours_differ_in_one_gene_and_are_all_there(space, rng):
    genotype = space.sample(rng)
    neighbours = space.neighbours(genotype)
    changed = one_gene_changed(space, genotype)
    assert neighbours == [other for position in sorted(changed) for other in changed[position]]


def test_children_have_each_gene_from_a_parent(space, rng):
    first, second = sampled(space, 2)
    genes = np.stack([space.encode(first), space.encode(second)])
    children = [space.crossover(first, second, rng) for _ in range(20)]
    for child in children:
        space.validate(child)
        assert (genes == np.array(space.encode(child))).any(axis=0).all()
    assert len(set(children)) > 1
    assert space.crossover(first, first, rng) == first


def test_canonical_form_and_genotype_survive_json(space):
    for genotype in sampled(space):
        copy = Genotype.from_json(json.loads(json.dumps(genotype.to_json())))
        assert copy == genotype
        assert space.canonical(copy) == space.canonical(genotype)


def test_a_pruned_genotype_is_the_same_network(space):
    for genotype in sampled(space):
        assert space.canonical(space.pruned(genotype)) == space.canonical(genotype)
        assert space.pruned(space.pruned(genotype)) == space.pruned(genotype)


def test_vectors_and_genotypes_are_inverse(space, rng):
    for genotype in sampled(space):
        vector_D = space.to_vector(genotype)
        assert vector_D.shape == (len(space.cardinalities),)
        assert ((vector_D > 0) & (vector_D < 1)).all()
        assert space.from_vector(vector_D) == genotype
    for vector_D in (np.zeros(len(space.cardinalities)), np.ones(len(space.cardinalities))):
        space.validate(space.from_vector(vector_D))
    space.validate(space.from_vector(rng.normal(size=len(space.cardinalities))))


def test_enumeration_is_complete_or_refused(space):
    if space.size() > 10**6:
        with pytest.raises(UsageError, match="enumerated"):
            space.enumerate()
        return
    some = min(space.size(), 20_000)  # half a million take seconds
    genotypes = list(itertools.islice(space.enumerate(), some))
    assert len(set(genotypes)) == len(genotypes) == some
    if some == space.size():
        assert next(itertools.islice(space.enumerate(), some, None), None) is None


def test_other_spaces_are_refused(space, rng):
    genotype = space.sample(rng)
    with pytest.raises(UsageError, match="nowhere"):
        space.validate(Genotype("nowhere", genotype.cells))


def test_graph_is_a_dag_between_an_input_and_an_output(space):
    for genotype in sampled(space):
        graph = space.graph(genotype)
        assert isinstance(graph, ArchGraph)
        assert (graph.labels[0], graph.labels[-1]) == ("input", "output")
        assert len(graph.labels) == len(graph.adjacency_VV) == graph.adjacency_VV.shape[1]
        assert graph.adjacency_VV.dtype == np.uint8
        assert set(np.unique(graph.adjacency_VV)) <= {0, 1}
        assert not np.tril(graph.adjacency_VV).any()


def test_different_genotypes_of_a_neighbourhood_have_different_graphs(space, rng):
    genotype = space.sample(rng)
    keys = {}
    for other in [genotype, *space.neighbours(genotype)]:
        graph = space.graph(other)
        key = (graph.labels, graph.adjacency_VV.tobytes())
        keys.setdefault(key, set()).add(space.canonical(other))
    assert all(len(canonical) == 1 for canonical in keys.values())


# ---------------------------------------------------------------------------- networks


def test_network_gives_finite_logits(space, shape):
    shapes = [shape, COLOURS] if len(shape.size) == 2 else [shape]
    for task in shapes:
        for genotype in sampled(space, 2):
            network = space.network(genotype, task, NetworkSize())
            assert network.drop_path == 0.0
            logits_BK, auxiliary_BK = network.with_auxiliary(inputs(task))
            assert logits_BK.shape == (4, task.num_classes)
            assert logits_BK.isfinite().all()
            assert auxiliary_BK is None  # not asked for
            assert torch.equal(network.eval()(inputs(task)), network(inputs(task)))


def test_network_trains_all_that_its_output_depends_on(space, shape):
    """Except where the genotype cuts the input off, a step lowers the loss of one batch."""
    torch.manual_seed(0)
    labels_B = torch.arange(4)
    for genotype in sampled(space, 3):
        network = space.network(genotype, shape, NetworkSize())
        optimiser = torch.optim.SGD(as_module(network).parameters(), lr=1e-4)
        losses = []
        for _ in range(2):
            loss = torch.nn.functional.cross_entropy(network(inputs(shape)), labels_B)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[1] < losses[0]


def test_costs_are_positive_and_of_the_network(space, shape, rng):
    genotype = space.sample(rng)
    parameters, flops = space.params_and_flops(genotype, shape, NetworkSize())
    network = space.network(genotype, shape, NetworkSize())
    assert parameters == sum(p.numel() for p in as_module(network).parameters())
    assert flops > 0


# ---------------------------------------------------------------------------- relaxation


def mixing_weights(space, requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator).softmax(1).requires_grad_(requires_grad)
        for name, shape in space.alpha_shapes.items()
    }


def test_discretise_is_the_inverse_of_one_hot(relaxed):
    for genotype in sampled(relaxed):
        weights, gates = relaxed.one_hot(genotype), relaxed.one_hot_gates(genotype)
        for name, (edges, operations) in relaxed.alpha_shapes.items():
            assert weights[name].shape == (edges, operations)
            assert gates[name].shape == (edges,)
            assert operations == len(relaxed.operations)
        key = relaxed.canonical(genotype)
        assert relaxed.canonical(relaxed.discretise(weights)) == key
        assert relaxed.canonical(relaxed.discretise(weights, gates=gates)) == key


def test_discretise_gives_valid_genotypes(relaxed):
    relaxed.validate(relaxed.discretise(mixing_weights(relaxed, requires_grad=True)))


def test_supernet_passes_gradients_to_weights_and_mixing_weights(relaxed, shape):
    torch.manual_seed(0)
    weights = mixing_weights(relaxed, requires_grad=True)
    supernet = relaxed.supernet(shape)
    logits_BK = supernet(inputs(shape), Mixture(weights))
    assert logits_BK.shape == (4, shape.num_classes)
    torch.nn.functional.cross_entropy(logits_BK, torch.arange(4)).backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in weights.values())
    for name, parameter in as_module(supernet).named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_supernet_at_one_hot_weights_is_finite(relaxed, shape, rng):
    torch.manual_seed(0)
    supernet = relaxed.supernet(shape)
    genotype = relaxed.sample(rng)
    weights, gates = relaxed.one_hot(genotype), relaxed.one_hot_gates(genotype)
    active = {name: weights_EO > 0 for name, weights_EO in weights.items()}
    with torch.no_grad():
        everything = supernet(inputs(shape), Mixture(weights, gates), statistics="batch")
        alone = supernet(inputs(shape), Mixture(weights, gates, active), statistics="batch")
    assert everything.isfinite().all()
    torch.testing.assert_close(alone, everything, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_scoring_leaves_no_trace(relaxed, shape, statistics):
    torch.manual_seed(0)
    supernet = relaxed.supernet(shape)
    weights = mixing_weights(relaxed)
    supernet(inputs(shape), Mixture(weights))
    before = {name: tensor.clone() for name, tensor in as_module(supernet).state_dict().items()}
    first = supernet(inputs(shape), Mixture(weights), statistics=statistics)
    assert torch.equal(first, supernet(inputs(shape), Mixture(weights), statistics=statistics))
    for name, tensor in as_module(supernet).state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_each_candidate_equals_a_call(relaxed, shape, statistics):
    torch.manual_seed(0)
    supernet = relaxed.supernet(shape)
    candidates = [
        mixing_weights(relaxed),
        relaxed.one_hot(relaxed.sample(np.random.default_rng(0))),
    ]
    supernet(inputs(shape), Mixture(candidates[0]))
    with torch.no_grad():
        found = list(supernet.each(inputs(shape), map(Mixture, candidates), statistics))
        for logits_BK, weights in zip(found, candidates, strict=True):
            called = supernet(inputs(shape), Mixture(weights), statistics=statistics)
            torch.testing.assert_close(logits_BK, called, rtol=1e-3, atol=1e-4)


def test_supernet_and_network_may_be_channels_last(relaxed, shape, rng):
    torch.manual_seed(0)
    genotype, weights = relaxed.sample(rng), mixing_weights(relaxed)
    active = {name: weights_EO > 0 for name, weights_EO in relaxed.one_hot(genotype).items()}
    supernet = relaxed.supernet(shape)
    network = relaxed.network(genotype, shape, NetworkSize()).eval()

    def outputs():
        for some in (None, active):
            yield supernet(inputs(shape), Mixture(weights, active=some), statistics="batch")
        yield network(inputs(shape))

    before = list(outputs())
    as_module(supernet).to(memory_format=torch.channels_last)
    as_module(network).to(memory_format=torch.channels_last)
    for actual, expected in zip(outputs(), before, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


def test_supernet_builds_active_operations_only(relaxed, shape):
    torch.manual_seed(0)
    genotype = sampled(relaxed, 1)[0]
    active = {name: weights_EO > 0 for name, weights_EO in relaxed.one_hot(genotype).items()}
    small = relaxed.supernet(shape, active=active)
    large = relaxed.supernet(shape)
    sizes = [sum(p.numel() for p in as_module(net).parameters()) for net in (small, large)]
    assert sizes[0] <= sizes[1]
    assert small(inputs(shape), Mixture(mixing_weights(relaxed))).isfinite().all()
