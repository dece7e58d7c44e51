"""Configuration files: TOML, checked to the last key, with units on every number that has one.

`StrictModel` is the base of everything that a person writes; `load` reads a file into one. The scan's
own configuration is `pipeline.scan_config`; surveys and model packages keep theirs beside their code.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import astropy.units as u
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from pipeline.errors import ConfigError

Kind = Literal["surveys", "ensembles", "scans", "training", "sims", "clusters", "evaluations", "lensfit"]
Model = TypeVar("Model", bound="StrictModel")

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class StrictModel(BaseModel):
    """A frozen configuration object that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False, allow_inf_nan=False)


def _in_unit(unit: str, *, positive: bool, zero: bool = False) -> BeforeValidator:
    def convert(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, str):
            raise ValueError(f'needs a number with its unit, such as "2 {unit}"')
        try:
            number = float(u.Quantity(value).to_value(unit))
        except (TypeError, ValueError, u.UnitConversionError) as error:
            raise ValueError(f'needs a number that converts to {unit}, such as "2 {unit}"') from error
        if not math.isfinite(number):
            raise ValueError("must be finite")
        if positive and not (number > 0 or (zero and number == 0)):
            raise ValueError(f"must be {'zero or ' if zero else ''}positive")
        return number

    return BeforeValidator(convert)


# A number written with its unit ("0.5 arcsec") that reaches the code as a plain float in the unit of the name.
Arcsec = Annotated[float, _in_unit("arcsec", positive=True)]
ArcsecOrZero = Annotated[float, _in_unit("arcsec", positive=True, zero=True)]
Degrees = Annotated[float, _in_unit("deg", positive=False)]
KmPerSecond = Annotated[float, _in_unit("km/s", positive=True)]
KmPerSecondPerMpc = Annotated[float, _in_unit("km/(s Mpc)", positive=True)]
Magnitude = Annotated[float, _in_unit("mag", positive=False)]
Megabytes = Annotated[float, _in_unit("Mbyte", positive=True)]
PerArcmin2 = Annotated[float, _in_unit("arcmin-2", positive=True)]
PerSecond = Annotated[float, _in_unit("s-1", positive=True)]
Seconds = Annotated[float, _in_unit("s", positive=True)]


def config_root() -> Path:
    """The folder of shipped configs: `configs/` of a checkout, or `pipeline/_configs` of a wheel."""
    here = Path(__file__).resolve().parent
    packaged = here / "_configs"
    return packaged if packaged.is_dir() else here.parent / "configs"


def shipped(kind: Kind) -> list[str]:
    """Names of the shipped configs of a kind, sorted."""
    return sorted(path.stem for path in (config_root() / kind).glob("*.toml"))


def find(reference: str | os.PathLike[str], kind: Kind, relative_to: Path | None = None) -> Path:
    """The file that a reference means: a path if it exists, else the name of a shipped config.

    Parameters
    ----------
    reference : str or path
    kind : str
        Which folder of the shipped configs the name is looked for in.
    relative_to : Path, optional
        Folder that a relative path starts from: the referring config's. The working directory if None.

    Raises
    ------
    ConfigError
        If there is neither; the message lists the shipped names and the nearest one.
    """
    path = Path(reference).expanduser()
    candidate = path if path.is_absolute() else (relative_to or Path.cwd()) / path
    if candidate.is_file():
        return candidate
    named = config_root() / kind / f"{reference}.toml"
    if path.name == str(reference) and named.is_file():
        return named
    names = shipped(kind)
    near = difflib.get_close_matches(str(reference), names, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else "."
    listed = ", ".join(names) or "none"
    raise ConfigError(f"no file {candidate} and no shipped config {reference!r} in {kind}/{hint} Shipped: {listed}.")


def portable(path: Path, kind: Kind) -> str:
    """What `find` finds a file by on another machine: the name of a shipped config, else the absolute path."""
    whole = path.absolute()
    return whole.stem if whole.parent == config_root() / kind else str(whole)


def expand(value: Any, where: str) -> Any:
    """Replace `${NAME}` in every string of nested lists and dictionaries by the environment's value.

    Raises
    ------
    ConfigError
        If a variable is not set; the message names it.
    """
    if isinstance(value, str):

        def substitute(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in os.environ:
                raise ConfigError(f"{where}: environment variable {name} is not set; export {name}=... and run again.")
            return os.environ[name]

        return _VARIABLE.sub(substitute, value)
    if isinstance(value, dict):
        return {key: expand(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, where) for item in value]
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary, before expansion.

    Raises
    ------
    ConfigError
        If it cannot be read or parsed; the message has the file and the parser's line.
    """
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from error


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `changes`, table by table; lists are replaced whole."""
    values = dict(base)
    for key, value in changes.items():
        old = values.get(key)
        values[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return values


def validate(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """Check nested values against a model.

    Raises
    ------
    ConfigError
        Naming file, key, value and, for an unknown key, the nearest known one.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(model, item, where) for item in error.errors())) from error


def load(model: type[Model], path: Path) -> Model:
    """Read, expand and check one TOML file; raises ConfigError."""
    return validate(model, expand(read_toml(path), str(path)), str(path))


def _explain(model: type[BaseModel], item: Any, where: str) -> str:
    location = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        message = str(item["msg"]).removeprefix("Value error, ")
        return f"{where}: {location}: {message} (got {item['input']!r})"
    known = _known_keys(model, item["loc"][:-1])
    near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"?' if near else f"known keys: {', '.join(known)}."
    return f"{where}: unknown key {location}; {hint}"


def _known_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Keys of the model that a pydantic error location points into."""
    current = [model]
    for part in location:
        within = [inner for one in current if part in one.model_fields for inner in _models_within(one, str(part))]
        # A part that is no key may be the tag of a choice between models.
        current = within or [one for one in current if _has_tag(one, part)] or current
    return sorted({name for one in current for name in one.model_fields})


def _models_within(model: type[BaseModel], name: str) -> list[type[BaseModel]]:
    """Every model that the annotation of a field names."""
    found, waiting = [], [model.model_fields[name].annotation]
    while waiting:
        annotation: Any = waiting.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append(annotation)
        else:
            waiting += getattr(annotation, "__args__", ())
    return found


def _has_tag(model: type[BaseModel], tag: Any) -> bool:
    return any(tag in getattr(field.annotation, "__args__", ()) for field in model.model_fields.values())
