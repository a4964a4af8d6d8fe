"""Fusion of the audio and video streams of a lip reader."""

import math

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """Joins the features of two streams, frame by frame: linear, batch norm, ReLU, linear (Ma et al. 2023).

    The batch norm never updates its statistics, in training either. In batches of few clips, those that lack a stream
    would shift the features of the others; the published model was trained on hundreds of clips a batch.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int):
        """Widths. The map starts as the sum of both streams where hidden >= 2 * inputs and inputs = 2 * outputs."""
        super().__init__()
        self.expand, self.norm, self.out = nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, outputs)
        if hidden >= 2 * inputs and inputs == 2 * outputs:
            self.init_as_sum()
        self.norm.eval()

    def train(self, mode: bool = True) -> "Fusion":
        super().train(mode)
        self.norm.eval()
        return self

    @torch.no_grad()
    def init_as_sum(self) -> None:
        """Initialises the map as the sum of both streams, carried through the ReLU as x = relu(x) - relu(-x).

        The layers after the fusion then understand what either stream has learned alone.
        """
        inputs, identity = self.expand.in_features, torch.eye(self.expand.in_features)
        self.expand.weight[: 2 * inputs] = torch.cat([identity, -identity])
        self.expand.bias[: 2 * inputs] = 0
        half = torch.eye(self.out.out_features).repeat(1, 2) / math.sqrt(2)
        self.out.weight[:, : 2 * inputs] = torch.cat([half, -half], 1)
        self.out.bias.zero_()

    def forward(self, rows: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs)"""
        return self.out(self.norm(self.expand(rows)).relu())
