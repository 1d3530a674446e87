"""The page as one text: no scripts, nothing from elsewhere, and a policy in it that lets a browser load neither. Pure."""

from __future__ import annotations

from html import escape

from paceline.transfer.report import sections
from paceline.transfer.report.content import Report
from paceline.transfer.report.style import STYLE

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(report: Report) -> str:
    """HTML of ``report``.

    >>> page = render(Report(title="<script>", facts=(), criterion="taylor"))
    >>> "<script>" in page, "&lt;script&gt;" in page
    (False, True)
    """
    parts = [sections.facts(report)]
    if report.baselines:
        parts.append(sections.baselines(report.baselines))
    if report.epochs:
        parts.append(sections.training(report.epochs, report.best_epoch))
    if report.classes:
        parts.append(sections.classes(report.classes))
    if report.confusions:
        parts.append(sections.confusions(report.confusions))
    if report.channels:
        parts.append(sections.channels(report))
    if report.gates:
        parts.append(sections.gates(report.gates))
    if report.masking or report.pruning:
        parts.append(sections.cutting(report))
    title = escape(report.title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main><h1>{title}</h1>\n"
        f"{chr(10).join(parts)}\n<footer>Made by paceline; this file needs no network.</footer></main></body></html>\n"
    )
