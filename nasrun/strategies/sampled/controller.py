"""Sample architectures from an LSTM, gene by gene.

Shapes: M samples, D genes, H units, V values of a gene.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

INITIAL = 0.1  # parameters are drawn from [-0.1, 0.1], as in the public code of ENAS


class Samples(NamedTuple):
    """Genes, and how the controller came to them."""

    genes_MD: Tensor  # int64
    log_probability_M: Tensor
    entropy_M: Tensor  # sum over the genes, nats


class Controller(nn.Module):
    """An LSTM that reads the gene it drew last, and gives the distribution of the next one.

    Genes with equally many values share their embedding and their output layer.

    Args:
        cardinalities: values of each gene.
        hidden: H.
        tanh_constant, temperature: logits are tanh_constant * tanh(logits / temperature), which
            keeps every value possible.
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        *,
        hidden: int,
        tanh_constant: float,
        temperature: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.cardinalities = tuple(cardinalities)
        self.tanh_constant, self.temperature = tanh_constant, temperature
        kinds = sorted(set(cardinalities))
        self.start_H = nn.Parameter(torch.empty(hidden))
        self.lstm = nn.LSTMCell(hidden, hidden)
        self.embeddings = nn.ModuleDict({str(v): nn.Embedding(v, hidden) for v in kinds})
        self.outputs = nn.ModuleDict({str(v): nn.Linear(hidden, v) for v in kinds})
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-INITIAL, INITIAL, generator=generator)

    def sample(self, count: int, generator: torch.Generator) -> Samples:
        """Draw M = `count` architectures; the gradient flows into the two sums."""
        inputs_MH = self.start_H.expand(count, -1)
        state: tuple[Tensor, Tensor] | None = None
        genes, log_probability_M, entropy_M = list[Tensor](), torch.zeros(count), torch.zeros(count)
        for kind in map(str, self.cardinalities):
            state = self.lstm(inputs_MH, state)
            logits_MV = self.outputs[kind](state[0])
            logits_MV = self.tanh_constant * torch.tanh(logits_MV / self.temperature)
            log_MV = logits_MV.log_softmax(dim=1)
            gene_M1 = torch.multinomial(log_MV.detach().exp(), 1, generator=generator)
            log_probability_M = log_probability_M + log_MV.gather(1, gene_M1).squeeze(1)
            entropy_M = entropy_M - (log_MV.exp() * log_MV).sum(1)
            inputs_MH = self.embeddings[kind](gene_M1.squeeze(1))
            genes.append(gene_M1)
        return Samples(torch.cat(genes, dim=1), log_probability_M, entropy_M)
