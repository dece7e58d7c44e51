"""Surveys as TOML: layouts of files, zero points, mask bits, catalogues."""

from pipeline.surveys.catalogues import ExternalDetections
from pipeline.surveys.description import SurveyConfig
from pipeline.surveys.fields import FieldList
from pipeline.surveys.open import Survey, open_survey

__all__ = ["ExternalDetections", "FieldList", "Survey", "SurveyConfig", "open_survey"]
