"""Networks compiled by torch for the device that they are on, an optional back end of scoring."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from pipeline.models.answers import Answers, Run
from pipeline.models.layers import Network

_COMPILED: WeakKeyDictionary[Network, Run] = WeakKeyDictionary()
"""What this process has compiled; it takes some ten seconds a network, and a worker scores shard after shard."""

_MOST = 256
"""Networks, batch shapes and types that one process may compile; beyond torch's own 8 it would go on uncompiled."""


def compiled_run(network: Network) -> Run:
    """The network's embedding and logits by code that `torch.compile` makes at the first call of each shape.

    Weights are constants of that code: batch normalisation goes into the convolutions and activations are fused.
    Nothing is autotuned, so the same device gives the same bytes. On a CPU it needs a C++ compiler.

    Parameters
    ----------
    network : Network
        On its device, in evaluation mode; its weights may not change afterwards.
    """
    if network not in _COMPILED:
        torch._dynamo.config.recompile_limit = _MOST
        _COMPILED[network] = torch.compile(Answers(network), dynamic=False, options={"freezing": True})
    return _COMPILED[network]
