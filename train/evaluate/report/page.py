"""A report's figures, pictures and mistakes in; report.md and report.html out.

report.html is a single file that embeds pictures and thumbnails. Names of classes, models and files
are escaped.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from train.evaluate.metrics import confused_pairs
from train.evaluate.report.gallery import Mistake, Stranger, data_uri, least_familiar, worst
from train.evaluate.report.plots import Picture

_TEMPLATE = Path(__file__).with_name("page.template")
_BODY = Path(__file__).with_name("body.template")
_PAIRS = 8


def others_summary(others: dict[str, Any]) -> str:
    """The figures of photos of other things in one line."""
    unsure, unfamiliar = others["unsure"], others["unfamiliar"]
    return (
        f"other photos: {unsure['photos']} of {others['photos']} unsure "
        f"({_percent(unsure['share'])}; 95 % interval {_span(unsure['share_interval_95'])}), "
        f"{unfamiliar['photos']} of them unfamiliar; AUROC of the distance {others['auroc']:.3f}"
    )


def summary(name: str, split: dict[str, Any]) -> str:
    """The figures of a split in one line."""
    return (
        f"{name}: accuracy {split['accuracy']:.4f} ({split['correct']} of {split['photos']}; "
        f"95 % interval {_span(split['accuracy_interval_95'])}), loss {split['loss']:.4f}, "
        f"calibration error {split['ece']:.4f}"
    )


def markdown(report: dict[str, Any], name: str, pictures: Sequence[Picture]) -> str:
    """The report of one split as Markdown, its pictures as files beside it."""
    split = report["splits"][name]
    lines = [f"# {plain(report['model'])}: {plain(name)}", "", *markdown_headlines(split)]
    for each in pictures:
        lines += ["", f"## {each.title}", "", f"![{each.title}]({each.name})", "", each.caption]
    if "others" in report:
        lines += ["", "## Photos of other things", "", others_summary(report["others"])]
    lines += ["", "## Each class", "", *markdown_classes(split)]
    lines += ["", "## Most frequent confusions", ""]
    pairs = confused_pairs(split["confusion"], report["classes"], _PAIRS)
    lines += [f"- {plain(true)} taken for {plain(named)}: {n}" for true, named, n in pairs]
    lines += [] if pairs else ["Nothing: every photo was named rightly."]
    return "\n".join([*lines, ""])


def markdown_headlines(split: dict[str, Any]) -> list[str]:
    """The table of the figures that come first."""
    rows = [f"| {title} | {value} | {note} |" for title, value, note in headlines(split)]
    return ["| figure | value | |", "| --- | --- | --- |", *rows]


def markdown_classes(split: dict[str, Any]) -> list[str]:
    """The table of each class's figures, and what its brackets mean."""
    lines = ["| class | photos | precision | recall | F1 |", "| --- | --- | --- | --- | --- |"]
    for label, row in split["per_class"].items():
        cells = " | ".join(f"{v} ({span})" for v, span in _class_figures(row))
        lines.append(f"| {plain(label)} | {row['photos']} | {cells} |")
    return [*lines, "", "In brackets the 95 % interval."]


def html_page(
    report: dict[str, Any],
    name: str,
    pictures: Sequence[Picture],
    mistakes: Sequence[Mistake],
    strangers: Sequence[Stranger] = (),
    more: str = "",
) -> str:
    """The report of one split as one HTML page; `more` is a last section as HTML.

    Raises:
        RequestError: a mistake's photo cannot be decoded.
    """
    split = report["splits"][name]
    subtitle = f"{split['photos']:,} photos of {name}, {len(report['classes'])} classes"
    if report.get("version"):
        subtitle += f"; model {report['version'][:19]}…"
    body = Template(_BODY.read_text(encoding="utf-8")).substitute(
        cards="".join(_card(*each) for each in headlines(split)),
        pictures="".join(_figure(each) for each in pictures),
        table=_table(split["per_class"]),
        pairs=_pairs(confused_pairs(split["confusion"], report["classes"], _PAIRS)),
        gallery=worst(mistakes),
        strangers=_others(report) + least_familiar(strangers),
        more=more,
    )
    return html(f"{report['model']}: {name}", subtitle, body)


def html(title: str, subtitle: str, body: str) -> str:
    """A page that stands alone, with its title and subtitle as text and its body as HTML."""
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title), subtitle=escape(subtitle), body=body
    )


def headlines(split: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(title, value, note) of the figures that come first."""
    note = f"{split['correct']:,} of {split['photos']:,}; {_span(split['accuracy_interval_95'])}"
    chance = f"up to {split['ece_by_chance_95']:.3f} may be chance with this number of photos"
    if split["temperature"] != 1:
        before = f"{split['ece_uncalibrated']:.3f} before temperature {split['temperature']:.3g}"
        chance = f"{before}; {chance}"
    figures = [
        ("Accuracy", f"{_percent(split['accuracy'])}", note),
        ("Mean F1 of the classes", f"{split['macro_f1']:.3f}", "each class counts the same"),
        ("Calibration error (ECE)", f"{split['ece']:.3f}", chance),
        ("Loss", f"{split['loss']:.3f}", "nats per photo"),
    ]
    unsure = split["unsure"]
    if "unfamiliar" in split:
        found = split["unfamiliar"]
        step = 1 / (found["compared_with_photos"] + 1)
        note = (
            f"{found['photos']:,} photos; {_span(found['share_interval_95'])}; familiarity has "
            f"steps of {step:.2g}"
        )
        figures.append(("Unfamiliar", _percent(found["share"]), note))
    if unsure["below"] > 0 or "unfamiliar" in split:
        span = _span(unsure["coverage_interval_95"])
        figures.append(
            ("Answered", f"{_percent(unsure['coverage'])}", f"the rest are unsure; {span}")
        )
        if unsure["accuracy"] is not None:
            span = _span(unsure["accuracy_interval_95"])
            familiar = "familiar, and " if "unfamiliar" in split else ""
            note = f"{familiar}probability {unsure['below']:.3g} or more; {span}"
            figures.append(("Accuracy of the answered", f"{_percent(unsure['accuracy'])}", note))
    return figures


def _span(interval: Sequence[float]) -> str:
    return f"{_percent(interval[0])} to {_percent(interval[1])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def plain(text: str) -> str:
    """A name with its Markdown characters escaped."""
    escaped = "".join(
        f"\\{c}" if c in r"\`*_{}[]()#+!|~$" else c for c in escape(text, quote=False)
    )
    return " ".join(escaped.split())


def _card(title: str, value: str, note: str) -> str:
    soft = f'<span class="soft">{escape(note)}</span>'
    return f'<div class="card">{escape(title)}<b>{escape(value)}</b>{soft}</div>'


def _figure(each: Picture) -> str:
    dark = data_uri("image/png", each.dark)
    light = data_uri("image/png", each.light)
    return (
        f"<figure><h3>{escape(each.title)}</h3><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(each.title)}"></picture>'
        f'<figcaption class="soft">{escape(each.caption)}</figcaption></figure>\n'
    )


def _class_figures(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(value, interval) of precision, recall and F1."""
    return [
        (f"{row[name]:.3f}", "{:.2f} to {:.2f}".format(*row[f"{name}_interval_95"]))
        for name in ("precision", "recall", "f1")
    ]


def _table(rows: dict[str, dict[str, Any]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("class", "photos", "precision", "recall", "F1"))
    lines = [f"<table><thead><tr>{head}</tr></thead><tbody>"]
    for label, row in rows.items():
        cells = "".join(f"<td>{v} <small>({span})</small></td>" for v, span in _class_figures(row))
        lines.append(f"<tr><td>{escape(label)}</td><td>{row['photos']:,}</td>{cells}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def _pairs(pairs: Iterable[tuple[str, str, int]]) -> str:
    items = [
        f"<li>{escape(true)} taken for {escape(named)}: {count}</li>"
        for true, named, count in pairs
    ]
    return f"<ul>{''.join(items)}</ul>" if items else "<p>None.</p>"


def _others(report: dict[str, Any]) -> str:
    """The section of photos of other things; empty without them."""
    if "others" not in report:
        return ""
    return f"<h2>Photos of other things</h2>\n<p>{escape(others_summary(report['others']))}</p>\n"
