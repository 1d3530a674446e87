"""Parts of the page, each from its part of the content. Every text that comes from a user is escaped here. Pure."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from paceline.transfer.report.charts import Axis, Line, histogram, line_chart
from paceline.transfer.report.content import (
    Baseline,
    ChannelCard,
    ClassMap,
    Confusion,
    CutPoint,
    Epoch,
    GateScales,
    MaskingLine,
    Report,
    Shown,
)

_NUM_COLOURS = 7


def facts(report: Report) -> str:
    cells = "".join(f"<div><b>{escape(fact.value)}</b><span>{escape(fact.label)}</span></div>" for fact in report.facts)
    return f'<div class="facts">{cells}</div>'


def baselines(rows: Sequence[Baseline]) -> str:
    """A table with a drawn interval in each row."""
    low = min(row.accuracy - (row.half_width or 0.0) for row in rows)
    high = max(row.accuracy + (row.half_width or 0.0) for row in rows)
    span = max(high - low, 1e-9)
    body = "".join(_baseline(row, low, span) for row in rows)
    names = ("Method", "Accuracy", "", "Gap closed", "Numbers trained", "Training")
    num_seeds = min(row.num_seeds for row in rows)
    told = f"means of {num_seeds} seeds with 95 % intervals" if num_seeds > 1 else "one seed each, so without intervals"
    return _section(
        "Ways to train on the same pictures",
        f"Each with the same split, epochs and search for a learning rate; {told}. The gap is that between the head alone and training "
        "everything.",
        _table(names, body),
    )


def training(epochs: Sequence[Epoch], best: int) -> str:
    loss = line_chart(
        [
            Line("training", [(epoch.number, epoch.train_loss) for epoch in epochs], 1),
            Line("validation", [(epoch.number, epoch.val_loss) for epoch in epochs], 2),
        ],
        Axis("epoch"),
        Axis("loss", from_zero=True),
    )
    accuracy = line_chart(
        [Line("validation", [(epoch.number, epoch.accuracy) for epoch in epochs], 3)],
        Axis("epoch"),
        Axis("accuracy", percent=True),
    )
    return _section(
        "Training",
        f"The network has the weights of epoch {best}, which had the least loss on the validation pictures.",
        f'<div class="grid two"><div class="card"><h3>Loss</h3>{loss}</div><div class="card"><h3>Accuracy</h3>{accuracy}</div></div>',
    )


def gates(units: Sequence[GateScales]) -> str:
    values = sorted(abs(scale - 1.0) for unit in units for scale in unit.scales)
    reach = max(values[int(0.995 * (len(values) - 1))], 0.01)  # a few outliers do not flatten all histograms
    cells = "".join(
        f'<div><h3 class="one-line" title="{escape(unit.unit)}">{escape(unit.unit)}</h3>{histogram(unit.scales, 1.0 - reach, 1.0 + reach, 1.0)}<div class="ends">'
        f"<span>{1.0 - reach:.2f}</span><span>1</span><span>{1.0 + reach:.2f}</span></div></div>"
        for unit in units
    )
    return _section(
        "What the gates learned",
        "By what each channel of each unit is multiplied. All gates began at 1, the dashed line; what stayed there was left as it was.",
        f'<div class="card grid units">{cells}</div>',
    )


def channels(report: Report) -> str:
    best = max((card.score for card in report.channels), default=1.0) or 1.0
    rows = "".join(_channel(card, best) for card in report.channels)
    warning = f'<p class="warning">{escape(report.warning)}</p>' if report.warning else ""
    agreement = (
        f" Over seeds the order agrees with a rank correlation of {report.stability:.2f}; ± is how far a channel moves in its unit."
        if report.stability is not None
        else ""
    )
    return _section(
        "Channels that matter most",
        f"The first of each stage by {report.criterion}, with their places among all {report.num_channels:,}, and the pictures in which "
        f"they answer most, cut to what that answer depends on.{agreement}",
        f'{warning}<div class="card">{rows}</div>',
    )


def classes(maps: Sequence[ClassMap]) -> str:
    cells = "".join(
        f'<div class="card"><div class="pair">{_image(each.picture, each.name)}{_image(each.heat, f"heat of {each.name}")}</div>'
        f'<h3>{escape(each.name)}</h3><span class="quiet">{100 * each.accuracy:.0f} % right · {100 * each.probability:.0f} % sure</span></div>'
        for each in maps
    )
    return _section(
        "Where the network looks",
        "One picture of each class, and where in it the network sees that class (Grad-CAM). Heat on the background is a warning.",
        f'<div class="grid classes">{cells}</div>',
    )


def confusions(pairs: Sequence[Confusion]) -> str:
    cells = "".join(
        f'<div class="card"><h3>{escape(pair.truth)} taken for {escape(pair.answer)}</h3><span class="quiet">{pair.num} of '
        f'{pair.num_truth} pictures</span><div class="strip few">{"".join(map(_shown, pair.examples))}</div></div>'
        for pair in pairs
    )
    return _section(
        "What is taken for what", "The most frequent mistakes.", f'<div class="grid confusions">{cells}</div>'
    )


def masking(lines: Sequence[MaskingLine]) -> str:
    chart = line_chart(
        [Line(line.criterion, line.points, 1 + place % _NUM_COLOURS) for place, line in enumerate(lines)],
        Axis("share of inner channels silenced", percent=True),
        Axis("accuracy", percent=True),
    )
    return f'<div class="card"><h3>Least important channels silenced, nothing learned anew</h3>{chart}</div>'


def pruning(points: Sequence[CutPoint]) -> str:
    chart = line_chart(
        [
            Line("healed", [(point.macs, point.accuracy) for point in points], 3),
            Line("before healing", [(point.macs, point.accuracy_cut) for point in points], 7, dashed=True),
        ],
        Axis("multiplications left", percent=True),
        Axis("accuracy", percent=True),
    )
    return f'<div class="card"><h3>Pruned networks</h3>{chart}</div>'


def pruning_table(points: Sequence[CutPoint]) -> str:
    body = "".join(
        f"<tr><td>{_percent(point.macs)}</td><td>{_percent(point.parameters)}</td><td>{_percent(point.latency)}</td>"
        f"<td>{point.num_bytes / 1e6:.2f} MB</td><td>{_percent(point.accuracy_cut)}</td><td>{_percent(point.accuracy)}</td></tr>"
        for point in points
    )
    return _table(("Multiplications", "Parameters", "Latency", "File", "Before healing", "Healed"), body)


def cutting(report: Report) -> str:
    charts = (masking(report.masking) if report.masking else "") + (pruning(report.pruning) if report.pruning else "")
    table = pruning_table(report.pruning) if report.pruning else ""
    return _section(
        "How much can go",
        "A ranking is right if what it puts last is not missed. Latency was measured in turns with the whole network, on this machine.",
        f'<div class="grid two">{charts}</div>{table and f"<br>{table}"}',
    )


def _baseline(row: Baseline, low: float, span: float) -> str:
    half = row.half_width or 0.0
    left, wide, at = (row.accuracy - half - low) / span, 2 * half / span, (row.accuracy - low) / span
    interval = "" if row.half_width is None else f" ± {100 * half:.1f}"
    gap = "" if row.gap_closed is None else f"{100 * row.gap_closed:.0f} %".replace("-", "−")
    return (
        f"<tr><td>{escape(row.method)}</td><td>{100 * row.accuracy:.1f}{interval} %</td>"
        f'<td class="interval"><div><u style="left:{100 * left:.1f}%;width:{100 * wide:.1f}%"></u><b style="left:{100 * at:.1f}%"></b></div>'
        f"</td><td>{gap}</td><td>{row.num_trained:,}</td><td>{row.train_s:.0f} s</td></tr>"
    )


def _channel(card: ChannelCard, best: float) -> str:
    spread = "" if card.place_spread is None else f", ± {card.place_spread:.1f} in its unit"
    return (
        f'<div class="channel"><div><h3>{escape(card.unit)} · {card.number}</h3>'
        f'<div class="bar"><i style="width:{100 * card.score / best:.1f}%"></i></div>'
        f'<span class="quiet">{card.score:.3g}, place {card.place:,}{spread}</span></div>'
        f'<div class="strip">{"".join(map(_shown, card.strongest))}</div></div>'
    )


def _shown(shown: Shown) -> str:
    return _image(shown.picture, f"{shown.label}, {shown.value:.2f}")


def _image(png: bytes, text: str) -> str:
    said = escape(text)
    return f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}" alt="{said}" title="{said}">'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _table(names: Sequence[str], body: str) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<div class="card scroll"><table><tr>{head}</tr>{body}</table></div>'


def _section(title: str, text: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p>{body}</section>"
