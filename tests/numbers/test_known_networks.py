"""Networks of torchvision: known parameters and multiply-adds, the CIFAR stem, and whole runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from nasrun.cli.main import main
from nasrun.engine import trained as networks
from nasrun.errors import UsageError
from nasrun.genotypes.known_networks import NETWORKS, network_genotype
from nasrun.genotypes.source import resolve
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize, as_module
from nasrun.report.collect import collect
from nasrun.report.groups import group
from nasrun.spaces.torchvision import Torchvision
from tests.compose import options
from tests.made_runs import make_run

SPACE = Torchvision(networks=["resnet18", "mobilenet_v2"], stem="cifar")
CIFAR, IMAGENET = TaskShape(3, (32, 32), 10), TaskShape(3, (224, 224), 1000)
FAMILIES = ("resnet18", "densenet121", "mobilenet_v3_small", "shufflenet_v2_x0_5",
            "efficientnet_b0", "mnasnet1_0")  # fmt: skip


def test_every_name_is_one_of_torchvision() -> None:
    assert set(NETWORKS) <= set(models.list_models(module=models))
    assert set(options("network")) == set(NETWORKS)
    assert resolve("resnet18") == resolve("torchvision:resnet18") == network_genotype("resnet18")


@pytest.mark.parametrize(
    ("name", "imagenet", "gigaflops", "cifar"),
    [
        ("resnet18", 11_689_512, 1.814, 11_173_962),
        ("mobilenet_v2", 3_504_872, 0.301, 2_236_682),
    ],
)
def test_sizes_are_the_known_ones(name: str, imagenet: int, gigaflops: float, cifar: int) -> None:
    """ImageNet: as torchvision publishes them. CIFAR-10: 990 classes less, and in a ResNet-18 64
    kernels of 3x3 in the place of 7x7 pixels."""
    genotype = network_genotype(name)
    found = SPACE.params_and_flops(genotype, IMAGENET, NetworkSize(stem="imagenet"))
    assert (found[0], round(found[1] / 1e9, 3)) == (imagenet, gigaflops)
    assert SPACE.params_and_flops(genotype, CIFAR, NetworkSize())[0] == cifar
    features, kernels = (512, 64 * 3 * (49 - 9)) if name == "resnet18" else (1280, 0)
    assert imagenet - 990 * (features + 1) - kernels == cifar


def test_multiply_adds_of_a_resnet_by_hand() -> None:
    """Four stages of 4 convolutions with 64, 128, 256, 512 channels on maps of 32, 16, 8, 4: each
    stage is as much work. From the second on the first kernel reads half of the channels, and a 1x1
    convolution joins the stages."""
    stem, one = 3 * 64 * 9 * 32**2, 64 * 64 * 9 * 32**2
    later = 3 * (3.5 * one + 64 * 128 * 16**2)
    flops = SPACE.params_and_flops(network_genotype("resnet18"), CIFAR, NetworkSize())[1]
    assert flops == stem + 4 * one + later + 512 * 10 == 555_422_720


@pytest.mark.parametrize("name", FAMILIES)
def test_the_cifar_stem_leaves_maps_of_an_eighth(name: str) -> None:
    shape, sizes = TaskShape(1, (32, 48), 10), list[torch.Size]()
    with torch.device("meta"):
        network = as_module(SPACE.network(network_genotype(name), shape, NetworkSize()))
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_hook(lambda *told: sizes.append(told[2].shape[2:]))
        network(torch.empty(2, 1, 32, 48))
    assert (sizes[0], sizes[-1]) == ((32, 48), (4, 6))


def test_nothing_is_dropped_at_random_and_a_short_training_is_enough_to_be_tested() -> None:
    """MobileNetV3 has dropout, and batch norm with the momentum 0.01."""
    shape, images = TaskShape(1, (8, 8), 3), torch.randn(4, 1, 8, 8)
    network = as_module(SPACE.network(network_genotype("mobilenet_v3_small"), shape, NetworkSize()))
    assert torch.equal(network(images), network(images))
    momenta = {one.momentum for one in network.modules() if isinstance(one, nn.BatchNorm2d)}
    assert momenta == {0.1}


def test_what_cannot_be_built_is_refused_in_a_sentence() -> None:
    small, genotype = TaskShape(1, (8, 8), 3), network_genotype("resnet18")
    with pytest.raises(UsageError, match=r"at least 32x32 pixels.*or retrain\.stem=cifar"):
        SPACE.network(genotype, small, NetworkSize(stem="imagenet"))
    with pytest.raises(UsageError, match="'resnet19', which space=torchvision lacks; did you mean"):
        SPACE.validate(network_genotype("resnet19"))
    with pytest.raises(UsageError, match=r"not in space\.networks: it can be retrained"):
        SPACE.encode(network_genotype("resnet50"))


def test_a_network_is_retrained_by_the_recipe_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["dataset.limit=40", "retrain=smoke", "network=shufflenet_v2_x0_5"]
    main(["retrain", *words, "hydra.run.dir=run"])
    assert "leave aside retrain.channels=8" in capsys.readouterr().out
    result = json.loads(Path("run/result.json").read_text())
    assert result["retrain"]["params"] == 352_042 - 2 * 24 * 9  # grey images
    network = networks.load(Path("run"))
    assert network.logits(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    with pytest.raises(SystemExit):
        main(["retrain", *words, "genotype=darts_v2"])
    assert "are two architectures: leave one of them out" in capsys.readouterr().err


def test_a_report_names_networks_beside_cells(tmp_path: Path) -> None:
    for name, word, config in (
        ("cell", "genotype=darts_v2", "darts_v2"),
        ("network", "network=resnet18", "torchvision:resnet18"),
    ):
        overrides, record = [word], {"kind": "retrain"}
        make_run(tmp_path / name, overrides=overrides, record=record, config={"genotype": config})
    runs, _ = collect([tmp_path])
    names = [one.name for one in group(runs, None).groups]
    assert names == ["darts_v2 retrained", "resnet18 retrained"]
