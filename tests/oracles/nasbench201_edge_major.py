"""The NAS-Bench-201 supernet as the benchmark lays it out: one module per edge and operation.

Slow and obvious; it takes its weights from the fast supernet. Shapes as there.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]


def norm(channels, source, edge=0):
    """torch's own batch norm, with the statistics and scale of one edge of a `BatchNorm`."""
    module = nn.BatchNorm2d(channels, affine=source.weight_EC is not None)
    module.to(source.running_mean_EC.dtype)
    module.running_mean.data.copy_(source.running_mean_EC[edge])
    module.running_var.data.copy_(source.running_var_EC[edge])
    if source.weight_EC is not None:
        module.weight.data.copy_(source.weight_EC[edge])
        module.bias.data.copy_(source.bias_EC[edge])
    return module


def convolution(kernel, stride=1, padding=0):
    module = nn.Conv2d(
        kernel.shape[1], kernel.shape[0], kernel.shape[2], stride, padding, bias=False
    ).to(kernel.dtype)
    module.weight.data.copy_(kernel)
    return module


class EdgeMajorCell(nn.Module):
    def __init__(self, fast):
        super().__init__()
        self.mixed = fast.partial.mixed
        self.k = fast.partial.channels // self.mixed
        self.operations = nn.ModuleDict()
        for edge, (source, _) in enumerate(EDGES):
            for name, size in (("nor_conv_1x1", 1), ("nor_conv_3x3", 3)):
                stack = fast.convolutions[f"{name}_from_{source}"]
                position = stack.edges.index(edge)
                self.operations[f"{name}_{edge}"] = nn.Sequential(
                    nn.ReLU(),
                    convolution(stack.of_edge()[position], padding=size // 2),
                    norm(self.mixed, stack.norm, position),
                )

    def apply_operation(self, name, edge, images):
        if name == "none":
            return images * 0
        if name == "skip_connect":
            return images
        if name == "avg_pool_3x3":
            return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)(images)
        return self.operations[f"{name}_{edge}"](images)

    def edge(self, edge, images, weights_EO, gate):
        mixed = sum(
            weights_EO[edge, column] * self.apply_operation(name, edge, images[:, : self.mixed])
            for column, name in enumerate(OPERATIONS)
        )
        if self.k == 1:
            return mixed if gate is None else gate * mixed
        joined = torch.cat([mixed, images[:, self.mixed :]], dim=1)
        batch, channels, height, width = joined.shape
        shuffled = joined.view(batch, self.k, channels // self.k, height, width).transpose(1, 2)
        joined = shuffled.reshape(joined.shape)
        return joined if gate is None else gate * joined

    def forward(self, images, weights_EO, gates_E):
        states = [images]
        for node in (1, 2, 3):
            states.append(
                sum(
                    self.edge(edge, states[source], weights_EO, gates_E and gates_E[edge])
                    for edge, (source, target) in enumerate(EDGES)
                    if target == node
                )
            )
        return states[-1]


class EdgeMajorSupernet(nn.Module):
    """`EdgeMajorSupernet(fast)` computes what `fast` computes; float type of `fast`."""

    def __init__(self, fast):
        super().__init__()
        self.stem = convolution(fast.stem.weight, padding=1)
        self.stem_norm = norm(fast.stem.out_channels, fast.stem_norm)
        self.layers = nn.ModuleList()
        for stage, cells in enumerate(fast.stages):
            if stage:
                self.layers.append(Residual(fast.reductions[stage - 1]))
            self.layers.extend(EdgeMajorCell(cell) for cell in cells)
        self.last_norm = norm(fast.classifier.in_features, fast.last_norm)
        self.classifier = nn.Linear(fast.classifier.in_features, fast.classifier.out_features)
        self.classifier.to(fast.stem.weight.dtype)
        self.classifier.load_state_dict(fast.classifier.state_dict())

    def set_statistics(self, statistics):
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(statistics != "running")
                module.track_running_stats = statistics != "batch"

    def forward(self, images, mixture, statistics="update"):
        self.set_statistics(statistics)
        gates_E = None if mixture.gates is None else list(mixture.gates["cell"])
        state = self.stem_norm(self.stem(images))
        for layer in self.layers:
            if isinstance(layer, EdgeMajorCell):
                state = layer(state, mixture.weights["cell"], gates_E)
            else:
                state = layer(state)
        state = F.relu(self.last_norm(state))
        return self.classifier(F.adaptive_avg_pool2d(state, 1).flatten(1))


class Residual(nn.Module):
    def __init__(self, fast):
        super().__init__()
        channels = fast.shortcut.out_channels
        self.branch = nn.Sequential(
            nn.ReLU(),
            convolution(fast.first.convolution.weight, stride=2, padding=1),
            norm(channels, fast.first.norm),
            nn.ReLU(),
            convolution(fast.second.convolution.weight, padding=1),
            norm(channels, fast.second.norm),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), convolution(fast.shortcut.weight))

    def forward(self, images):
        return self.branch(images) + self.shortcut(images)
