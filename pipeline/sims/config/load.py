"""Reading a simulation's config.

A simulation's TOML has `kind = "stamps"`, `kind = "sky"` or `kind = "injection"`, and `population`
names a second file with the galaxies, lenses and artefacts, so that stamps for training and skies for tests share one
population:
`population = "population.toml"`, or a table with what differs from the file::

    [population]
    file = "population.toml"
    galaxies = { central_magnitude = ["20.5 mag", "24.8 mag"] }
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.config import expand, find, merged, read_toml, validate
from pipeline.errors import ConfigError
from pipeline.sims.config.injection import InjectionConfig
from pipeline.sims.config.population import Population
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.config.stamps import SimsConfig


def load_sims(reference: str | Path) -> SimsConfig | SkyConfig | InjectionConfig:
    """A simulation's config, with its population read from the file that it names.

    Parameters
    ----------
    reference : str or path
        A path, or the name of a shipped config.

    Raises
    ------
    ConfigError
        If a file is missing or a key or value is wrong.
    """
    path = find(reference, "sims")
    values: dict[str, Any] = expand(read_toml(path), str(path))
    if "population" in values:
        values["population"] = _read_population(values["population"], path)
    match values.get("kind"):
        case "stamps":
            return validate(SimsConfig, values, str(path))
        case "sky":
            return validate(SkyConfig, values, str(path))
        case "injection":
            return validate(InjectionConfig, values, str(path))
        case other:
            raise ConfigError(
                f'{path}: kind is {other!r}; a simulation has kind = "stamps", kind = "sky" or kind = "injection".'
            )


def _read_population(given: Any, path: Path) -> Population:
    """The population of a file, or of a table with `file` and what differs from it."""
    changes = dict(given) if isinstance(given, dict) else {"file": given}
    reference = changes.pop("file", None)
    if not isinstance(reference, str):
        raise ConfigError(f'{path}: population needs a file, such as population = "population.toml".')
    where = find(reference, "sims", relative_to=path.parent)
    values = merged(expand(read_toml(where), str(where)), changes)
    return validate(Population, values, f"{path} on {where}" if changes else str(where))
