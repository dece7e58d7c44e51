"""What can go wrong, told apart by what should happen next."""

from __future__ import annotations


class LensscanError(Exception):
    """Base of every error that lensscan raises on purpose.

    The message names the thing, the value and the next step.
    """


class LeaseLost(LensscanError):
    """Another process holds the output by now: what was done for the one before it must not be published."""


class ConfigError(LensscanError):
    """A configuration, command line or environment variable is wrong; nothing has been started."""


class NoCoverage(LensscanError):
    """A field has no usable pixel: a success with zero rows, not a failure."""


class BadSurveyData(LensscanError):
    """A field's files will fail again until they change; the field is quarantined with this reason."""


class ProductMismatch(LensscanError):
    """The output belongs to another scan, or a product is not what its manifest says."""


class ModelMismatch(LensscanError):
    """A model package does not fit the scan (bands, format, weights); stop before starting."""


class QueryError(LensscanError):
    """A catalogue query is not one read-only expression over the catalogue's columns."""


class GradeError(LensscanError):
    """A grade can't be kept, or a folder of grades can't be used: nothing has been saved."""


class NotSaved(GradeError):
    """A grade that is in order could not be written; it can be given again once the disk has been seen to."""
