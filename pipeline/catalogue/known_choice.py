"""Which entries of a table of known lenses count, and which of them are one lens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.known import KnownLenses, arcsec_chord
from pipeline.errors import QueryError

CLUSTER_LISTS = (
    "doi:10.1086/423038",  # Lopes et al. 2004, Northern Sky optical clusters
    "astro-ph/0106055",  # Gonzalez et al. 2001, Las Campanas distant clusters
    "doi:10.1086/191426",  # Gioia et al. 1990, Einstein medium sensitivity survey
    "astro-ph/0405546",  # Böhringer et al. 2004, REFLEX
    "astro-ph/0003219",  # Böhringer et al. 2000, NORAS
    "arXiv:0411075",  # Gladders & Yee 2005, Red-sequence clusters
    "astro-ph/9812394",  # Ebeling et al. 1998, ROSAT brightest clusters
    "astro-ph/0003191",  # Ebeling et al. 2000, the same, extended
    "astro-ph/0403354",  # Popesso et al. 2004, RASS-SDSS clusters
    "arXiv:1002.2226",  # Menanteau et al. 2010, optical clusters of the southern cosmology survey
    "astro-ph/0608624",  # van Breukelen et al. 2006, clusters in UKIDSS
)
"""References in lenscat that list clusters of galaxies as such, whether or not an arc was seen in them."""

_ORDER = ("a", "confident", "confirmed", "a+b", "b", "probable", "c", "possible", "candidate")
"""Grades from best to worst, in small letters; others come behind, in order of the alphabet."""


@dataclass(frozen=True)
class KnownSystems:
    """Known lenses with each system once.

    Attributes
    ----------
    lenses : KnownLenses
        One entry a system, the best graded of those that it is made of, the first of equals.
    entries : (n,) int64
        How many entries of the table each system stands for.
    aliases : (n,) object array of str
        Names of its other entries, separated by ``|``.
    """

    lenses: KnownLenses
    entries: npt.NDArray[np.int64]
    aliases: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.lenses)


def choose(
    known: KnownLenses,
    *,
    grades: Sequence[str] = (),
    kinds: Sequence[str] = (),
    references: Sequence[str] = (),
    without_references: Sequence[str] = (),
    cluster_lists: bool = False,
) -> KnownLenses:
    """The entries that fulfil every condition given.

    Parameters
    ----------
    known : KnownLenses
    grades, kinds : sequence of str
        Any of these, case aside; all if empty.
    references, without_references : sequence of str
        Texts of which the entry's reference holds one, or none, case aside.
    cluster_lists : bool
        Keep entries that are known from lists of clusters alone (`CLUSTER_LISTS`).

    Raises
    ------
    QueryError
        For a grade or a kind that no entry has; the message lists those that there are.
    """
    wanted = np.ones(len(known), bool)
    for what, column, chosen in (("grade", known.grade, grades), ("kind", known.kind, kinds)):
        if not chosen:
            continue
        low = np.array([text.lower() for text in column], object)
        unknown = [value for value in chosen if value.lower() not in set(low)]
        if unknown:
            there = ", ".join(sorted({repr(text) for text in column})[:20]) or "none"
            raise QueryError(f"{known.path}: no entry has the {what} {unknown[0]!r}; there are {there}.")
        wanted &= np.isin(low, [value.lower() for value in chosen])
    texts = [text.lower() for text in known.reference]
    if references:
        wanted &= np.array([any(part.lower() in text for part in references) for text in texts], bool)
    if without_references:
        wanted &= np.array([not any(part.lower() in text for part in without_references) for text in texts], bool)
    if not cluster_lists:
        wanted &= np.array([not _from_clusters(text) for text in known.reference], bool)
    return known.select(wanted)


def systems(known: KnownLenses, radius: float) -> KnownSystems:
    """Entries that lie within a radius of each other, or are linked by such ones, as one system each.

    Parameters
    ----------
    known : KnownLenses
    radius : float
        Arc seconds.

    Returns
    -------
    KnownSystems
        In order of each system's first entry.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(known)
    if not count:
        return KnownSystems(known, np.zeros(0, np.int64), np.zeros(0, object))
    pairs = known.tree.query_pairs(arcsec_chord(radius), output_type="ndarray")
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    label = connected_components(links, directed=False)[1]
    order = np.lexsort((np.arange(count), np.array([_rank(grade) for grade in known.grade]), label))
    first = np.flatnonzero(np.r_[True, label[order][1:] != label[order][:-1]])
    entries = np.diff(np.r_[first, count])
    earliest = np.minimum.reduceat(order, first)
    aliases = np.array(
        ["|".join(known.name[row] for row in order[at + 1 : at + n]) for at, n in zip(first, entries, strict=True)],
        object,
    )
    by_file = np.argsort(earliest)
    return KnownSystems(known.select(order[first][by_file]), entries[by_file].astype(np.int64), aliases[by_file])


def grade_order(grades: Sequence[str]) -> list[str]:
    """Each grade once, best first."""
    return sorted(set(grades), key=lambda grade: (_rank(grade), grade))


def _rank(grade: str) -> int:
    text = grade.strip().lower()
    return _ORDER.index(text) if text in _ORDER else len(_ORDER) + (text == "")


def _from_clusters(reference: str) -> bool:
    """Whether every paper that a reference names is a list of clusters."""
    return all(any(paper in part for paper in CLUSTER_LISTS) for part in reference.split("|"))
