"""Surveys as TOML: layouts of files, zero points, mask bits."""
