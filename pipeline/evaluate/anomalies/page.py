"""The HTML of a comparison of anomaly detectors: one file, everything escaped, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from pipeline.catalogue.report_html import fixed, section, table
from pipeline.evaluate.anomalies.pictures import Reconstruction, Shown
from pipeline.evaluate.anomalies.plots import dimension_plots, latent_plot, roc_plot, threshold_plots
from pipeline.evaluate.anomalies.result import AnomalyEvaluation, LatentResult, SampleResult, ScorerResult
from pipeline.evaluate.figures import Figure, completeness_name

COLUMNS: Mapping[str, str] = {
    "F1": "F1 at the threshold",
    "precision": "precision at the threshold",
    "recall": "completeness at the threshold",
    "AUROC": "AUROC",
}
"""Figures of the table by heading, as their names begin."""

_STYLE = """
.pairs { display: grid; gap: 10px 18px; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); }
.pairs figure img { width: 32%; image-rendering: pixelated; }
.stamps { display: grid; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); }
.stamps figure img { width: 100%; image-rendering: pixelated; }
.pairs figcaption, .stamps figcaption { font-weight: 400; font-size: 11px; }
"""


def page(
    evaluation: AnomalyEvaluation,
    drawn: Mapping[str, Sequence[Reconstruction]],
    wrong: Sequence[tuple[str, Sequence[Shown]]],
) -> str:
    """The whole document.

    Parameters
    ----------
    evaluation : AnomalyEvaluation
    drawn : mapping of str to sequence of Reconstruction
        By package.
    wrong : sequence of (str, sequence of Shown)
        Stamps that a detector gets wrong, under their headings.
    """
    style = "".join(
        files(place).joinpath("report.css").read_text(encoding="utf-8")
        for place in ("pipeline.catalogue", "pipeline.evaluate.report")
    )
    body = [
        _header(evaluation),
        section("Not measured", _missing(evaluation), kind="warning"),
        section("Comparison", comparison_table(evaluation), intro=_intro(evaluation)),
        section("Figures", _figures(evaluation)),
        section("Receiver operating characteristics", _curves(evaluation)),
        section("Threshold study", threshold_plots(evaluation), intro=_about_thresholds(evaluation)),
        *(_latent(latent, drawn.get(latent.package, ())) for latent in evaluation.latents),
        *(section(escape(heading), _stamps(shown)) for heading, shown in wrong),
        section("What is shared", _splits(evaluation)),
        section("Provenance", _provenance(evaluation)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(evaluation.name)} – anomalies</title><style>{style}{_STYLE}</style></head>\n"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def comparison_table(evaluation: AnomalyEvaluation) -> str:
    """One row a score: F1, precision and completeness where thresholds can be told, AUROC on every sample."""
    prior = float(evaluation.config["prior"])
    head = ["score"]
    cells: list[tuple[str, str]] = []
    for sample in evaluation.samples:
        if sample.column != "real":
            wanted = [*COLUMNS, f"F1 at prior {prior:g}", f"precision at prior {prior:g}", completeness_name(0.01)]
        else:
            wanted = ["AUROC"]
        for name in wanted:
            head.append(f"{escape(name)}<br><small>{escape(sample.name)}</small>")
            cells.append((sample.name, COLUMNS.get(name, name)))
    rows = [
        [_name(scorer), *(_cell(scorer.samples[sample].figure(name)) for sample, name in cells)]
        for scorer in evaluation.scorers
    ]
    return table(head, rows, label="every score on every sample", kind="figures")


def _header(evaluation: AnomalyEvaluation) -> str:
    tiles = "".join(
        f"<div><b>{sample.n_lenses:,} / {sample.n_others:,}</b><span>anomalies / normals{_groups(sample)}, "
        f"{escape(sample.name)}</span></div>"
        for sample in evaluation.samples
    )
    return (
        f"<header><p>{escape(evaluation.description)}</p><h1>Anomaly detectors: {escape(evaluation.name)}</h1></header>"
        f'<section class="tiles">{tiles}</section>'
    )


def _groups(sample: SampleResult) -> str:
    if (sample.n_lens_groups, sample.n_other_groups) == (sample.n_lenses, sample.n_others):
        return ""
    return f" of {sample.n_lens_groups:,} / {sample.n_other_groups:,} files"


def _missing(evaluation: AnomalyEvaluation) -> str:
    items = "".join(
        f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in evaluation.not_measured.items()
    )
    return f"<ul>{items}</ul>" if items else ""


def _intro(evaluation: AnomalyEvaluation) -> str:
    share, prior = float(evaluation.config["share"]), float(evaluation.config["prior"])
    return (
        "Value and 68 % interval. Thresholds and latent dimensions are chosen on "
        f"{escape(evaluation.validation.name)}, weighted to {share:.0%} anomalies, or to a share of {prior:g}; nothing "
        "is chosen on real lenses. At the prior, intervals are those of the Jeffreys posteriors of the two rates. "
        "Point sources among real neighbours are chosen by their width, so against them the baseline <b>size</b> has "
        "the answer already."
    )


def _about_thresholds(evaluation: AnomalyEvaluation) -> str:
    return (
        f"On {escape(evaluation.validation.name)}, of which no figure above is: precision, recall and F1 of calling "
        "everything above a threshold an anomaly."
    )


def _name(scorer: ScorerResult) -> str:
    kind = f"<small>{escape(scorer.architecture or scorer.kind)}</small>"
    return f"{escape(scorer.name)} {kind}"


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    if figure.value is None:
        return f"–<small>{escape(figure.reason or '')}</small>"
    return f"{_number(figure.value)}<small>[{_number(figure.low)}, {_number(figure.high)}]</small>"


def _number(value: float | None) -> str:
    if value is not None and 0 < abs(value) < 0.001:
        return f"{value:.1e}"
    return fixed(value, 3)


def _figures(evaluation: AnomalyEvaluation) -> str:
    """Every figure of every score, a table a sample, folded."""
    answer = ""
    for sample in evaluation.samples:
        names = list(
            dict.fromkeys(
                figure.name for scorer in evaluation.scorers for figure in scorer.samples[sample.name].figures
            )
        )
        rows = [
            [_name(scorer), *(_cell(scorer.samples[sample.name].figure(name)) for name in names)]
            for scorer in evaluation.scorers
        ]
        notes = "; ".join(sample.notes)
        shown = table(["score", *map(escape, names)], rows, label=f"figures on {sample.name}", kind="figures")
        answer += f"<details><summary>{escape(sample.name)}</summary><p>{escape(notes)}</p>{shown}</details>"
    return answer


def _curves(evaluation: AnomalyEvaluation) -> str:
    return f'<div class="plots">{"".join(roc_plot(evaluation, sample) for sample in evaluation.samples)}</div>'


def _latent(latent: LatentResult, drawn: Sequence[Reconstruction]) -> str:
    chosen = ", ".join(str(index) for index, taken in enumerate(latent.dimensions.chosen.tolist()) if taken)
    pairs = "".join(
        f"<figure>{_image(item.stamp)} {_image(item.reconstruction)} {_image(item.residual)}"
        f"<figcaption>{escape(item.title)}</figcaption></figure>"
        for item in drawn
    )
    dimensions = latent.dimensions
    above = f"above {dimensions.limit:.1f}"
    if dimensions.chi_squared.max() <= dimensions.limit:
        above = f"the largest of all, though not above the limit of {dimensions.limit:.1f}"
    told = (
        f"Dimensions in which anomalies sit: {chosen} (chi-squared over its degrees of freedom {above}). "
        "Left to right: a stamp as the network sees it, its reconstruction, the difference."
    )
    body = f'<div class="plots">{dimension_plots(latent)}{latent_plot(latent)}</div><div class="pairs">{pairs}</div>'
    return section(f"Latent space of {escape(latent.package)}", body, intro=told)


def _stamps(shown: Sequence[Shown]) -> str:
    cards = "".join(
        f"<figure>{_image(item.picture)}<figcaption>{escape(item.title)}, {item.odds:.2%}</figcaption></figure>"
        for item in shown
    )
    return f'<div class="stamps">{cards}</div>' if cards else ""


def _image(picture: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def _splits(evaluation: AnomalyEvaluation) -> str:
    rows = [
        [
            escape(check.first),
            escape(check.second),
            escape(check.what),
            "not checked" if check.shared is None else f"{check.shared:,}",
            escape(check.note),
        ]
        for check in evaluation.splits
    ]
    return table(["sample", "with", "what", "shared", "note"], rows, label="what samples share", words=(4,))


def _provenance(evaluation: AnomalyEvaluation) -> str:
    digests = [[escape(name), f"<code>{escape(digest)}</code>"] for name, digest in evaluation.packages.items()]
    text = json.dumps(evaluation.config, indent=2, ensure_ascii=False)
    return (
        f"<p>lensscan {escape(evaluation.version)}</p>"
        f"{table(['package', 'sha256 of weights'], digests, label='packages', words=(1,))}"
        f"<details><summary>configuration</summary><pre>{escape(text)}</pre></details>"
    )
