"""Fields that failed: how many for which reason, and which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pipeline.catalogue.report_facts import Failure
from pipeline.catalogue.report_html import name, rest, section, table, text

MOST_LISTED = 200
MOST_KINDS = 30
_MOST_NAMED = 4


def quarantine(failures: Sequence[Failure]) -> str:
    """The section of failed fields: reasons that differ by the field's name alone are one; empty if none failed."""
    if not failures:
        return ""
    kinds: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for failure in failures:
        kinds[(failure.stage, _without(failure.reason, failure.field_id), failure.again)].append(failure.field_id)
    ordered = sorted(kinds.items(), key=lambda kind: -len(kind[1]))
    summary = table(
        ("fields", "stage", "reason", "then", "which"),
        [
            (f"{len(ids):,}", text(stage, 40), text(reason), _then(again), _which(ids))
            for (stage, reason, again), ids in ordered[:MOST_KINDS]
        ],
        label="Failures by reason",
        words=(2, 4),
        kind="left",
    )
    again = sum(failure.again for failure in failures)
    retried = f" {again:,} of them may succeed as they are." if again else ""
    return section(
        "Quarantine",
        summary
        + rest(len(ordered), MOST_KINDS, "kinds of reasons, the rarest")
        + (_every(failures) if len(failures) > len(ordered) else "")
        + "<p>A field is tried again when its inputs or its config change, or with "
        "<code>lensscan scan SCAN.toml --retry-failed</code>.</p>",
        kind="warning",
        intro=f"{len(failures):,} {'field' if len(failures) == 1 else 'fields'} failed.{retried}",
    )


def _every(failures: Sequence[Failure]) -> str:
    rows = [
        (name(failure.field_id), text(failure.stage, 40), text(failure.reason)) for failure in failures[:MOST_LISTED]
    ]
    listed = table(("field", "stage", "reason"), rows, label="Failed fields", words=(2,), kind="left tall")
    more = rest(len(failures), MOST_LISTED, "<code>lensscan status SCAN.toml</code>")
    return f"<details><summary>field by field</summary>{listed}{more}</details>"


def _without(reason: str, field_id: str) -> str:
    """A reason that does not name its own field."""
    return reason.replace(field_id, "(field)") if field_id else reason


def _which(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MOST_NAMED:,} more" if len(ids) > _MOST_NAMED else ""
    return ", ".join(name(field_id) for field_id in ids[:_MOST_NAMED]) + more


def _then(again: bool) -> str:
    return "try again" if again else "mend first"
