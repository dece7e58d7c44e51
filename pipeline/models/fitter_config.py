"""The lens parameters of an ensemble as its TOML says them: whose posterior, and how many samples of it."""

from __future__ import annotations

from pydantic import Field

from pipeline.config import StrictModel


class FitterConfig(StrictModel):
    """Section `[parameters]` of an ensemble.

    Attributes
    ----------
    package : str
        A shipped package's name or a folder.
    samples : int
        Of the posterior, that means and standard deviations are of: a mean is off by the standard deviation over the
        root of their number.
    seed : int
        Of the standard normal numbers that samples are made of, which are the same for every stamp.
    least_lens, beyond_share : float
        A posterior is not trusted where the network itself gives a lens a smaller probability, or a larger share of
        its samples lies beyond the ends of what it was trained on, in some parameter: there it extrapolates. See
        `pipeline.models.posterior.trustworthy`.
    """

    package: str
    samples: int = Field(256, ge=2, le=100_000)
    seed: int = Field(1, ge=0)
    least_lens: float = Field(0.5, ge=0, lt=1)
    beyond_share: float = Field(0.16, gt=0, le=1)
