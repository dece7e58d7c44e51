"""Networks run by onnxruntime on a CPU, the optional back end of scoring."""

from __future__ import annotations

import logging
import warnings
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.models.answers import Answers, Run
from pipeline.models.layers import Network

_SESSIONS: WeakKeyDictionary[Network, dict[tuple[tuple[int, ...], int], Run]] = WeakKeyDictionary()
"""What has been exported in this process; exporting takes seconds, and a worker scores shard after shard."""


def onnx_run(network: Network, shape: tuple[int, ...], threads: int) -> Run:
    """The network as a session of onnxruntime, for batches of one shape.

    The graph is exported in memory and optimised by onnxruntime: batch normalisation goes into the convolutions,
    activations are fused. Sums are taken in another order than torch takes them, so logits differ by rounding.

    Parameters
    ----------
    network : Network
        On the CPU, in evaluation mode.
    shape : tuple of int
        (n, c, y, x) of every batch.
    threads : int

    Raises
    ------
    ConfigError
        If onnxruntime or what torch's exporter needs is not installed.
    """
    known = _SESSIONS.setdefault(network, {})
    if (shape, threads) not in known:
        known[shape, threads] = _session(network, shape, threads)
    return known[shape, threads]


def _session(network: Network, shape: tuple[int, ...], threads: int) -> Run:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'score.backend = "onnx": {error}; run `./install.sh onnx` in lensscan\'s folder, or leave the key out.'
        ) from error
    with warnings.catch_warnings(), torch.no_grad():
        # What the exporter says of itself, and of libraries that no network here needs, is not for whoever scans.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(Answers(network), (torch.zeros(shape),), dynamo=True, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def run(channels: Tensor) -> tuple[Tensor, Tensor]:
        embedding, logits = session.run(None, {name: channels.contiguous().numpy()})
        return torch.from_numpy(embedding), torch.from_numpy(logits)

    return run
