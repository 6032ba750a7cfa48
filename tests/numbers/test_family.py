"""A family of networks from one supernet: what is inherited, measured anew, chosen and trained."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from nasrun.cli.main import main
from nasrun.compute.device import Device
from nasrun.datasets.digits import load_digits
from nasrun.engine import trained
from nasrun.engine.family import Family, recalibrate, sandwich
from nasrun.engine.family_choice import Candidate, by_cost, spread
from nasrun.launch.replay import recorded_dataset
from nasrun.networks.blocks.batch_norm import BatchNorm, with_torchs_norms
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Mixture, NetworkSize, as_module
from nasrun.spaces.nasbench201 import NasBench201

SPACE = NasBench201(channels=4, cells=2, partial_channels=1)
SHAPE = TaskShape(1, (8, 8), 10)


def inheriting(genotype, supernet):
    network = SPACE.network(genotype, SHAPE, NetworkSize())
    as_module(network).load_state_dict(SPACE.inherited(genotype, as_module(supernet).state_dict()))
    return network


def test_an_inherited_network_computes_what_the_supernet_does() -> None:
    torch.manual_seed(0)
    supernet, images = SPACE.supernet(SHAPE), torch.randn(6, 1, 8, 8)
    for genes in ([3] * 6, [0, 3, 1, 2, 4, 3], [2, 1, 3, 0, 2, 4]):
        genotype = SPACE.decode(genes)
        mixture = Mixture.single(SPACE, genotype)
        supernet(images, mixture)  # moves the running statistics
        network = inheriting(genotype, supernet)
        alone = network.logits(images, "batch", 0.0)
        torch.testing.assert_close(alone, supernet(images, mixture, statistics="batch"))
        running = supernet(images, mixture, statistics="running")
        torch.testing.assert_close(as_module(network).eval()(images), running)


def test_statistics_are_measured_anew_as_by_one_batch_of_everything() -> None:
    torch.manual_seed(0)
    dataset, device = load_digits(
        name="digits", batch_size=64, limit=96, crop_padding=1, cutout_length=4
    ), Device("cpu", "float32", False)  # fmt: skip
    network = inheriting(SPACE.decode([3] * 6), SPACE.supernet(SHAPE))
    ((raw, _),) = dataset.train.batches(torch.arange(96), 96, torch.device("cpu"))
    recalibrate(network, dataset, device)
    first = next(part for part in as_module(network).modules() if isinstance(part, BatchNorm))
    convolved = network.stem(dataset.normalise(raw))
    torch.testing.assert_close(first.running_mean_EC[0], convolved.mean((0, 2, 3)))
    torch.testing.assert_close(first.running_var_EC[0], convolved.var((0, 2, 3)))
    # in two batches: the mean of what they have
    recalibrate(network, dataset, device, batch_size=48)
    halves = [part.var((0, 2, 3)) for part in convolved.split(48)]
    torch.testing.assert_close(first.running_var_EC[0], (halves[0] + halves[1]) / 2)
    images = dataset.normalise(raw)
    expected = as_module(network)(images)
    torch.testing.assert_close(with_torchs_norms(as_module(network))(images), expected)


def test_members_are_spread_over_the_range_of_cost() -> None:
    drawn = [Candidate(SPACE.decode([n % 5] * 6), n, 2**n) for n in range(9)]
    parts = by_cost(drawn, 4)
    assert [[one.params for one in part] for part in parts] == [[0, 1], [2, 3], [4, 5], [6, 7, 8]]
    parts[1].reverse()  # as if the second were better
    chosen = spread([drawn[0], drawn[-1]], parts, 6)
    # the ends, the best inside, the best of the outer parts that is no end, the second of part 1
    assert [one.params for one in chosen] == [0, 2, 3, 4, 6, 8]
    assert [one.params for one in spread([drawn[0], drawn[-1]], parts, 3)] == [0, 3, 8]


def test_the_largest_learns_from_labels_and_teaches_the_others() -> None:
    rows = torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    paths = [lambda images, row=row: row.expand(len(images), 2) for row in rows]
    labels = torch.tensor([0, 0])
    loss, logits = sandwich(paths, np.random.default_rng(0))((torch.zeros(2, 1, 1, 1), labels))
    taught = 1 / (1 + math.exp(3))  # probability of class 0 by the last path
    by_labels = -math.log(taught)
    equal = math.log(2)  # a path that cannot decide, whatever it is taught
    first = -(taught * math.log(1 / (1 + math.exp(-2)))
              + (1 - taught) * math.log(1 / (1 + math.exp(2))))  # fmt: skip
    assert float(loss) == pytest.approx((by_labels + first + 2 * equal) / 4, rel=1e-5)
    assert torch.equal(logits, rows[3].expand(2, 2))
    assert functional.cross_entropy(logits, labels).item() == pytest.approx(by_labels)


SPACE_OF_RUN = NasBench201(channels=4, cells=1, partial_channels=1)
SEARCH = ["search", "space=nasbench201", "space.channels=4", "strategy=random", "budget=smoke"]
SEARCH += ["evaluator=shared_weights", "evaluator.epochs=1", "retrain=none", "dataset.limit=100"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family") / "run"
    main([*SEARCH, f"hydra.run.dir={folder}"])
    return folder


def test_each_member_is_a_network_of_its_own(run: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("nasrun.engine.family.SCRATCH_EPOCHS", 1)
    main(["family", str(run), "--members", "4", "--epochs", "2", "--tune", "1", "--compare", "2"])
    told = capsys.readouterr().out
    members = json.loads((run / "family" / "family.json").read_text())
    assert len(members) == 4
    from_scratch = [one["scratch_accuracy"] for one in members]
    assert [one is not None for one in from_scratch] == [True, False, False, True]
    gains = [100 * (from_scratch[n] - members[n]["test_accuracy"]) for n in (0, 3)]
    assert f"2 members trained from scratch as well: {abs(sum(gains)) / 2:.2f} points" in told
    assert f"{max(gains):.2f} at most" in told
    flops = [one["flops"] for one in members]
    assert flops == sorted(flops)
    assert flops[-1] > 4 * flops[0]
    assert any(one["test_accuracy"] != one["inherited_accuracy"] for one in members)
    for number, member in enumerate(members, start=1):
        folder = run / "family" / str(number)
        assert trained.load(folder).record.genotype.to_json() == member["genotype"]
        main(["evaluate", str(folder), "--json"])
        assert json.loads(capsys.readouterr().out)["accuracy"] == member["test_accuracy"]


def test_the_rate_of_tuning_is_chosen_by_validation_images(run: Path, monkeypatch) -> None:
    """Means of two members at the three rates: .3, .4 and .2; the test images are not there."""
    family = Family(run, SPACE_OF_RUN, recorded_dataset(run), seed=0)
    members = family.choose(3)
    family.dataset.test = None
    tuned, said = [], iter([0.2, 0.4, 0.5, 0.3, 0.1, 0.3])

    def tune(network, dataset, device, streams, epochs, progress, training, split) -> None:
        tuned.append((training.learning_rate, epochs, split))

    monkeypatch.setattr("nasrun.engine.family.tune", tune)
    monkeypatch.setattr("nasrun.engine.family.accuracy_on", lambda split, *_: next(said))
    train, validation = family._halves
    assert family.tuning_rate(members, 7, lambda *_, **__: None) == 0.05
    assert tuned == [(rate, 7, train) for rate in (0.1, 0.1, 0.05, 0.05, 0.02, 0.02)]
    assert len(train) + len(validation) == len(family.dataset.train)
    assert family.tuning_rate(members, 0, lambda *_, **__: None) is None


@pytest.mark.processes
def test_one_call_at_a_time_makes_a_family(run: Path, tmp_path: Path, capsys) -> None:
    code = "import sys; from pathlib import Path\n"
    code += "from nasrun.storage.folder_lock import FolderLock\n"
    code += "lock = FolderLock(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    words = ["family", str(run), "--members", "2", "--epochs", "0", "--compare", "0"]
    words += ["--out", str(tmp_path)]
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert f"in use by another nasrun process, {holder.pid} on " in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}
    holder.kill()
    holder.communicate()
    main(words)
    assert (tmp_path / "family.json").is_file()


def test_an_interrupted_training_goes_on_to_the_same_weights(run: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, **figures: float) -> None:
        raise KeyboardInterrupt

    def train(folder: Path, progress) -> dict[str, torch.Tensor]:
        family = Family(run, SPACE_OF_RUN, recorded_dataset(run), seed=0)
        family.train(family.choose(3), 2, folder, progress)
        return as_module(family.supernet).state_dict()

    whole, halted = tmp_path / "whole", tmp_path / "halted"
    whole.mkdir(), halted.mkdir()
    expected = train(whole, lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        train(halted, stop)
    done = []
    found = train(halted, lambda epoch, *_, **__: done.append(epoch))
    assert done == [2]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_has_no_family_is_told_in_one_sentence(run: Path, tmp_path: Path, capsys) -> None:
    def refused(*words: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["family", *words])
        assert caught.value.code == 2
        return str(capsys.readouterr().err)

    out = ["--out", str(tmp_path / "out")]
    assert "has no supernet.pt: a search keeps it whose" in refused(str(tmp_path))
    assert "--members=1 is not possible" in refused(str(run), "--members", "1", *out)
    assert "different networks" in refused(str(run), "--members", "9999", *out)
