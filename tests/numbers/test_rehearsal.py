"""What a rehearsal leaves out is counted: batches, scores, labels, steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasrun.check import clock, memory
from nasrun.check.clock import (
    Clock,
    KnownAnswers,
    RememberedFreeScores,
    RememberedLabels,
    RememberedScores,
)
from nasrun.check.data import FewBatches, ShortDataset, faults
from nasrun.check.forecast import Part, disk_bytes
from nasrun.datasets.images import Resident
from nasrun.datasets.synthetic import make_synthetic
from nasrun.errors import RunError
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.protocols.evaluation import Evaluation, Evaluator
from nasrun.protocols.scorer import Scores

GENOTYPE = Genotype("test", (Cell("cell", ("in", "out"), (Edge("conv", 0, 1),)),))


class One(Evaluator):
    """One that is asked nothing."""


class TwoAtOnce(Evaluator):
    at_once = 2


class ThreeCompete(Evaluator):
    bracket = 3


class Watch:
    """In the place of `time`: only what is said takes time."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch) -> Watch:
    made = Watch()
    monkeypatch.setattr("nasrun.check.clock.time", made)
    monkeypatch.setattr("nasrun.check.data.time", made)
    return made


def dataset(num_train: int = 50):
    return make_synthetic(
        name="made", channels=1, size=4, num_classes=5, num_train=num_train, num_test=12,
        noise=32.0, seed=0, batch_size=8, limit=None, crop_padding=0, flip=False, cutout_length=9,
    )  # fmt: skip


def test_a_pass_has_its_first_batches_and_its_last(watch: Watch) -> None:
    counted = Clock()
    split = FewBatches(dataset().train, counted)
    seconds = iter([10.0, 3.0, 1.0])  # the first batch is slow, and the last has 2 images of 8
    labels = []
    for _, labels_B in split.batches(torch.arange(50), 8, torch.device("cpu")):
        watch.now += next(seconds)
        labels.append(labels_B)
    expected = [*range(16), 48, 49]
    assert torch.equal(torch.cat(labels), torch.tensor(expected) % 5)
    # 32 images were left out, and the ten images after the first batch took 4 seconds
    assert counted.skipped_s == pytest.approx(32 * 4.0 / 10)
    assert len(split) == 50


def test_a_short_pass_is_whole_and_a_subset_is_short_too(watch: Watch) -> None:
    counted = Clock()
    short = ShortDataset(dataset(), counted)
    assert len(list(short.train.batches(torch.arange(24), 8, torch.device("cpu")))) == 3
    assert counted.skipped_s == 0
    half = short.train.subset(torch.arange(0, 50, 2))
    sizes = [len(y) for _, y in half.batches(torch.arange(25), 4, torch.device("cpu"))]
    assert sizes == [4, 4, 1]
    assert (short.name, short.shape.num_classes) == ("made", 5)


def test_labels_are_real_until_enough_is_known(watch: Watch) -> None:
    counted = Clock()
    known = KnownAnswers[Evaluation](counted)
    costs = iter([9.0, 2.0, 2.0, 3.0])

    def evaluate(genotypes):
        watch.now += next(costs)
        return [Evaluation(genotypes[0], (0.25,), 1.0)]

    label = RememberedLabels(One(), known, evaluate).evaluate
    label([GENOTYPE])  # 9 s
    label([GENOTYPE])  # 11 s: all of the first step are real, unless they take 12 s
    label([GENOTYPE])  # 13 s
    (fourth,) = label([GENOTYPE])
    assert fourth == Evaluation(GENOTYPE, (0.25,), 1.0)
    assert len(known.answers) == 3
    assert counted.take() == 2.0  # the first one does not count
    counted.num_steps = 1
    label([GENOTYPE])
    assert counted.take() == 2.0
    assert watch.now == 13.0


def test_labels_at_once_take_the_time_of_their_rounds(watch: Watch) -> None:
    counted = Clock()

    def evaluate(genotypes):
        watch.now += 7.0
        return [Evaluation(genotypes[0], (0.25,), 1.0)]

    label = RememberedLabels(TwoAtOnce(), KnownAnswers(counted), evaluate).evaluate
    assert len(label([GENOTYPE] * 5)) == 5
    assert watch.now == 14.0  # 21 s were left out
    assert watch.now + counted.skipped_s == pytest.approx(3 * 7.0)


def test_those_that_compete_are_asked_for_together(watch: Watch) -> None:
    asked, counted = [], Clock()

    def evaluate(genotypes):
        asked.append(len(genotypes))
        watch.now += 4.0 * len(genotypes)
        return [Evaluation(one, (0.25,), 1.0) for one in genotypes]

    label = RememberedLabels(ThreeCompete(), KnownAnswers(counted), evaluate).evaluate
    assert len(label([GENOTYPE] * 3)) == 3
    assert asked == [3]  # 12 s are enough
    assert len(label([GENOTYPE] * 2)) == 2
    assert asked == [3]
    assert counted.take() == pytest.approx(2 * 4.0)


def test_after_the_first_step_less_is_enough(watch: Watch) -> None:
    counted = Clock()
    answers = [Evaluation(GENOTYPE, (0.5,), 1.0)] * 2
    known = KnownAnswers(counted, answers, [1.0, 1.0], spent_s=clock.ENOUGH_S, first_step=0)
    assert not known.suffices
    counted.num_steps = 1
    assert known.suffices


def test_a_failure_is_remembered_as_one(watch: Watch) -> None:
    known = KnownAnswers[Evaluation](Clock(), spent_s=clock.LONGEST_S)

    def evaluate(genotypes):
        raise RunError("no")

    label = RememberedLabels(One(), known, evaluate).evaluate
    for _ in range(4):
        with pytest.raises(RunError, match="no"):
            label([GENOTYPE])
    assert len(known.answers) == 2


def test_scores_come_from_those_that_are_known(watch: Watch) -> None:
    class Scorer:
        num_scorings = 0

        def score(self, candidates, batch, statistics):
            watch.now += 8.0
            self.num_scorings += len(candidates)
            n = len(candidates)
            return Scores(np.full(n, 1.5), np.full(n, 0.5), np.full(n, 0.1) if n > 1 else None)

    counted, scorer = Clock(), Scorer()
    score = RememberedScores(scorer, counted).score
    for _ in range(3):
        scores = score(range(4), "images")
    assert watch.now == 16.0  # two real calls, 2 s a candidate
    assert counted.skipped_s == pytest.approx(8.0)
    assert scorer.num_scorings == 12
    assert scores.loss_N.tolist() == [1.5] * 4
    assert scores.noise_N is not None
    assert score([1], "images").noise_N is None


def test_scores_without_training_come_from_those_that_are_known(watch: Watch) -> None:
    class Proxy:
        names, how, num_affordable = ("made",), "made", 100

        def values(self, genotypes):
            watch.now += 5.0 * len(genotypes)
            return np.full((len(genotypes), 1), watch.now)

    counted = Clock()
    found = RememberedFreeScores(Proxy(), counted).values([GENOTYPE] * 10)
    assert watch.now == 15.0  # of the first step three are real: 12 s are over
    assert counted.skipped_s == pytest.approx(7 * 5.0)
    assert found[:3, 0].tolist() == [5.0, 10.0, 15.0]
    assert set(found[3:, 0]) <= {5.0, 10.0, 15.0}


def test_steps_that_were_not_rehearsed_are_like_the_last() -> None:
    part = Part("search", num_steps=10, steps_s=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 6.0])
    assert part.seconds == 16.0 + 2 * 5.0
    # the whole has ten steps more, all like the first two
    plain = Part("search", num_steps=5, stretch=3.0, num_plain=2, steps_s=[1.0, 3.0, 9.0, 9.0, 9.0])
    assert plain.seconds == 31.0 + 10 * 2.0
    assert Part("search", num_steps=4, stretch=5.0, steps_s=[1.0, 1.0, 3.0, 3.0]).seconds == 40.0
    assert Part("search", num_steps=100, limit_s=20.0, steps_s=[1.0, 1.0]).seconds == 21.0
    assert Part("search").seconds == 0.0


def test_disk_has_room_for_three_checkpoints_and_the_logs() -> None:
    search = Part("search", num_steps=10, steps_s=[1.0] * 5, growing_bytes=30, checkpoint_bytes=7)
    retraining = Part("retraining", num_steps=2, steps_s=[1.0] * 2, checkpoint_bytes=9)
    assert disk_bytes([search, retraining], 100) == 3 * 9 + 2 * 30 + 100


def test_memory_has_a_limit() -> None:
    with memory.limited(200 * 2**20), pytest.raises(MemoryError):
        np.ones(2**28, np.uint8)
    np.ones(2**28, np.uint8)
    free = memory.available()
    assert free is not None
    assert 0 < free < 2**44
    assert memory.peak() > 2**26


def test_faults_of_data() -> None:
    assert list(faults(dataset(), cutout=False)) == []
    (blank,) = faults(dataset(), cutout=True)  # 9 pixels of 4
    assert "100% of the training images are blank" in blank
    wrong = dataset()
    wrong.test.labels_N = wrong.test.labels_N + 1
    images = wrong.train.images.tensor.float()
    images[30, 0, 2, 2] = torch.nan
    wrong.train.images = Resident(images)
    first, second = faults(wrong, cutout=False)
    assert first == (
        "dataset made, test split: labels go from 1 to 5, and there are 5 classes, 0 to 4: "
        "mend the labels"
    )
    assert "train split: image 30 has NaN" in second
    odd = dataset()
    odd.test.images = Resident(odd.test.images.tensor[:, :, :3])
    (size,) = faults(odd, cutout=False)
    assert "image 0 is 1 x 3 x 4, and the networks are made for 1 x 4 x 4" in size
