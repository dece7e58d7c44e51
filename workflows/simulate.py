"""The command `simulate`: a pool of stamps for training, lenses injected into a scan, or a synthetic survey."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from workflows.children import children
from workflows.console import reporting, show

if TYPE_CHECKING:
    from pipeline.sims.config.injection import InjectionConfig
    from pipeline.sims.config.sky import SkyConfig
    from pipeline.sims.config.stamps import SimsConfig


@dataclass(frozen=True)
class SimulateResult:
    """What a simulation wrote; `n` counts stamps or fields."""

    kind: str
    output: str
    files: int
    n: int
    seconds: float


def run_simulation(
    config_reference: str,
    out: str | Path,
    seed: int = 1,
    *,
    n: int | None = None,
    workers: int = 2,
    split: str | None = None,
    lens_share: float | None = None,
) -> SimulateResult:
    """Simulate by a config.

    Parameters
    ----------
    config_reference : str
        Path of a sims TOML or name of a shipped one.
    out : str or path
        Folder that gets the pool's shards, or the survey's FITS files with `survey.toml`.
    seed : int
    n : int, optional
        Number of stamps instead of the config's; ignored for a survey.
    workers : int
        Processes that write shards of a pool, this one if it is 1; what is written doesn't depend on it.
    split : {"train", "validation", "test", "all"}, optional
        Of the sky and of the source galaxies, instead of the config's.
    lens_share : float, optional
        Share of lenses in a pool, instead of the config's.

    Raises
    ------
    ConfigError, ProductMismatch
        For a wrong configuration, or a folder that holds a pool already.
    """
    from pipeline.sims.config.load import load_sims
    from pipeline.sims.config.sky import SkyConfig

    started = perf_counter()
    config = load_sims(config_reference)
    if split is not None:
        _check_split(config, split)
        config = with_split(config, split)
    if lens_share is not None:
        config = _with_lens_share(config, lens_share)
    folder = Path(out)
    if not isinstance(config, SkyConfig):
        count, files = write_pool(config, folder, seed, n=n, workers=workers)
    else:
        from pipeline.sims.sky.survey import write_survey

        write_survey(config, folder, seed, progress=_report)
        files = len(list(folder.rglob("*.fits")))
        count = config.layout.columns * config.layout.rows
    return SimulateResult(config.kind, str(folder), files, count, round(perf_counter() - started, 2))


def _check_split(config: SimsConfig | SkyConfig | InjectionConfig, split: str) -> None:
    """A split that would change nothing is refused: its pools would be the same, stamp by stamp."""
    from pipeline.errors import ConfigError

    sources = getattr(config, "sources", None)
    if sources is not None and not sources.hst and getattr(config, "sky", None) is None:
        raise ConfigError(
            f"--split {split}: nothing in the config is split, as its sources are drawn and no galaxies of a list "
            "(sources.hst). Another --seed gives other stamps."
        )


def with_split(
    config: SimsConfig | SkyConfig | InjectionConfig, split: str
) -> SimsConfig | SkyConfig | InjectionConfig:
    """The config with another split of everything that it splits; raises ConfigError if there is no such thing."""
    from pipeline.errors import ConfigError

    sources, sky = getattr(config, "sources", None), getattr(config, "sky", None)
    if split not in ("train", "validation", "test", "all"):
        raise ConfigError(f"--split {split!r}: there are train, validation, test and all.")
    if sources is None:
        raise ConfigError(f"--split {split}: the config has neither sky nor sources that are split; leave it out.")
    changes = {"sources": sources.model_copy(update={"split": split})}
    if sky is not None:
        changes["sky"] = sky.model_copy(update={"split": split})
    return config.model_copy(update=changes)


def _with_lens_share(
    config: SimsConfig | SkyConfig | InjectionConfig, share: float
) -> SimsConfig | SkyConfig | InjectionConfig:
    from pipeline.errors import ConfigError

    if config.kind == "sky":
        raise ConfigError("--lens-share: a sky plants `lenses` of them; set that in its config.")
    if not 0 <= share <= 1:
        raise ConfigError(f"--lens-share must lie between 0 and 1, not {share:g}.")
    return config.model_copy(update={"lens_share": share})


def write_pool(
    config: SimsConfig | InjectionConfig,
    folder: Path,
    seed: int,
    *,
    n: int | None = None,
    workers: int = 2,
    resume: bool = False,
) -> tuple[int, int]:
    """Write a pool's shards in processes.

    Parameters
    ----------
    config : SimsConfig or InjectionConfig
    folder : Path
    seed : int
    n : int, optional
        Stamps, instead of the config's.
    workers : int
    resume : bool
        Keep the shards that are there, which must be of the same config, seed and `n`; without it there must be none.

    Returns
    -------
    stamps, shards : int
        In the pool.

    Raises
    ------
    ConfigError, ProductMismatch
        For an injection that its scans can't have, or a folder that holds a pool already.
    """
    from pipeline.sims.config.injection import InjectionConfig
    from pipeline.sims.pools import check_folder, shard_counts
    from pipeline.sims.stamps.pools import write_shard

    counts = dict(enumerate(shard_counts(config.stamps if n is None else n, config.shard)))
    done = {number for number in counts if resume and (folder / f"pool-{number:05d}.npz").is_file()}
    if len(done) < len(counts):
        if isinstance(config, InjectionConfig):
            write = _injector(config, folder, seed)
        else:
            write = partial(write_shard, config, folder, seed)
        if not resume:
            check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _write_shards(write, counts, done, workers)
    return sum(counts.values()), len(counts)


def _injector(config: InjectionConfig, folder: Path, seed: int) -> Callable[[int, int], Path]:
    """What writes a shard of injections, given its number and count."""
    from pipeline.sims.inject.plan import prepare
    from pipeline.sims.inject.pools import write_injected_shard

    plan = prepare(config, [_scanned(scan) for scan in config.scans])
    _report(
        f"{len(plan.objects):,} detections, {len(plan.deflectors):,} galaxies for lenses, {len(plan.sources):,} HST "
        f"sources in split {config.sky.split}"
    )
    return partial(write_injected_shard, plan, folder, seed)


def _scanned(scan: str) -> Path:
    """The output of a scan, by its folder or its config; raises ConfigError where there is neither."""
    from pipeline.errors import ConfigError
    from workflows.recombine import scan_output

    try:
        return scan_output(scan)
    except ConfigError as error:
        raise ConfigError(
            f"no folder {scan}, whose cutouts get the lenses: run `lensscan scan` with the config that writes it. "
            f"({error})"
        ) from error


def _write_shards(write: Callable[[int, int], Path], counts: dict[int, int], done: set[int], workers: int) -> None:
    """Write the shards that are not done; `write` takes a shard's number and its count."""
    total, written = sum(counts.values()), sum(counts[number] for number in done)
    missing = [number for number in counts if number not in done]
    for number in _each_written(write, missing, counts, workers):
        written += counts[number]
        _report(f"{written:,}/{total:,} stamps")


def _each_written(
    write: Callable[[int, int], Path], numbers: list[int], counts: dict[int, int], workers: int
) -> Iterator[int]:
    """Each shard's number when it is written; in this process where there is but one worker."""
    if workers == 1:
        for number in numbers:
            write(number, counts[number])
            yield number
        return
    with children(min(workers, len(numbers)), _start_worker) as pool:
        jobs = {number: pool.submit(write, number, counts[number]) for number in numbers}
        for number, job in jobs.items():
            job.result()
            yield number


def _start_worker() -> None:
    """Torch's many objects are left alone by the collector, which is a tenth of the time."""
    import torch  # noqa: F401

    gc.freeze()


def simulate(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A simulation's config: a path, or a shipped name.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the pool or survey.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same sky.")] = 1,
    n: Annotated[int | None, typer.Option("--n", min=1, help="Number of stamps, instead of the config's.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that write a pool.")] = 2,
    split: Annotated[
        str | None, typer.Option("--split", help="train, validation, test or all, instead of the config's.")
    ] = None,
    lens_share: Annotated[
        float | None, typer.Option("--lens-share", help="Share of lenses in a pool, instead of the config's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Simulate stamps for training, or a synthetic survey, by a config."""
    with reporting(as_json):
        result = run_simulation(config, out, seed, n=n, workers=workers, split=split, lens_share=lens_share)
        show(as_json, asdict(result), lambda: f"{result.n} in {result.files} files, {result.output}")


def _report(message: str) -> None:
    typer.echo(message, err=True)
