"""Plots of a comparison (plotly for curves, one picture of the difference maps) and its HTML fragment."""

from __future__ import annotations

import base64
import html as text
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.geometry import array_of

if TYPE_CHECKING:
    from TheranosticDoseLib.comparison.compare import Comparison

COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "2px,8px", "12px,2px,2px,2px")
SHOWN_VOIS = 8
SHOWN_VOXELS = 2000


def fragment(comparison: Comparison) -> str:
    """Return tables, plots and the difference maps as one HTML fragment."""
    figures = [profile_figure(comparison), bland_altman_figure(comparison)]
    if comparison.dvhs:
        figures.insert(0, dvh_figure(comparison))
    parts = [
        f"<p>Reference: <b>{text.escape(comparison.reference)}</b>. Uncertainties are statistical (k=1).</p>",
        table_html(comparison),
        gamma_html(comparison),
        time_html(comparison),
        difference_picture(comparison),
        *(f.to_html(full_html=False, include_plotlyjs=False) for f in figures),
    ]
    return "\n".join(parts)


def table_html(comparison: Comparison) -> str:
    """Return the table of VOI means."""
    if not comparison.table:
        return ""
    head = ("VOI", "engine", "mean, Gy", "D98, Gy", "D50, Gy", "D2, Gy", "difference, %")
    rows = []
    for row in comparison.table:
        u = row["u_mean_gy"]
        cells = [
            text.escape(row["voi"]),
            text.escape(row["engine"]),
            f"{row['mean_gy']:.4g}" + (f" &plusmn; {u:.2g}" if u else ""),
            *(f"{row[key]:.4g}" for key in ("d98_gy", "d50_gy", "d2_gy")),
        ]
        percent = row.get("difference_percent")
        u = row.get("u_difference_percent")
        cells.append("" if percent is None else f"{percent:+.1f}" + (f" &plusmn; {u:.1f}" if u else ""))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    header = "".join(f"<th>{cell}</th>" for cell in head)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def gamma_html(comparison: Comparison) -> str:
    """Return the gamma index of each engine in words."""
    lines = []
    for name, values in comparison.gamma.items():
        name = text.escape(name)
        if "reason" in values:
            lines.append(f"<li>{name}: no gamma index ({text.escape(values['reason'])})</li>")
            continue
        lines.append(
            f"<li>{name}: gamma {values['dose_percent']:g} % / {values['distance_mm']:g} mm (global, above "
            f"{values['cutoff_percent']:g} % of the maximum) passes in {100 * values['pass_fraction']:.1f} &plusmn; "
            f"{100 * values['u_pass_fraction']:.1f} % of {values['points']} voxels, mean {values['mean']:.3f}</li>"
        )
    return f"<ul>{''.join(lines)}</ul>"


def time_html(comparison: Comparison) -> str:
    """Return how long each engine took."""
    times = [f"{text.escape(name)} {seconds:.2g} s" for name, seconds in comparison.seconds.items()]
    return f"<p>Time: {', '.join(times)}.</p>" if times else ""


def dvh_figure(comparison: Comparison) -> Any:
    """Return the cumulative DVHs: one color per VOI, one dash per engine."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, (voi, dvhs) in enumerate(list(comparison.dvhs.items())[:SHOWN_VOIS]):
        for engine, dash in zip(comparison.doses, DASHES, strict=False):
            dose_gy, percent = dvhs[engine].curve(128)
            line = {"color": COLORS[number % len(COLORS)], "dash": dash}
            figure.add_scatter(x=dose_gy, y=percent, mode="lines", line=line, name=f"{voi}, {engine}")
    return _layout(figure, "absorbed dose, Gy", "volume, %")


def profile_figure(comparison: Comparison) -> Any:
    """Return the profile along x through the maximum of the reference."""
    import plotly.graph_objects as go

    figure = go.Figure()
    position = comparison.profile["position_mm"]
    for engine, color in zip(comparison.doses, COLORS, strict=False):
        figure.add_scatter(x=position, y=comparison.profile[engine], name=engine, line={"color": color})
    return _layout(figure, "position along x through the maximum, mm", "absorbed dose, Gy")


def bland_altman_figure(comparison: Comparison) -> Any:
    """Return difference against mean of some voxels (fixed choice), with the limits of agreement."""
    import plotly.graph_objects as go

    figure = go.Figure()
    base = array_of(comparison.doses[comparison.reference])
    inside = np.flatnonzero(base.ravel() > 0.01 * base.max())
    some = np.random.default_rng(0).permutation(inside)[:SHOWN_VOXELS]
    for (engine, limits), color in zip(comparison.bland_altman.items(), COLORS[1:], strict=False):
        dose = array_of(comparison.doses[engine]).ravel()[some]
        reference = base.ravel()[some]
        figure.add_scatter(
            x=0.5 * (dose + reference), y=dose - reference, mode="markers", name=engine,
            marker={"color": color, "size": 3, "opacity": 0.5},
        )  # fmt: skip
        for key in ("bias_gy", "lower_gy", "upper_gy"):
            figure.add_hline(
                y=limits[key], line={"color": color, "dash": "dash" if key != "bias_gy" else "solid"}
            )
    return _layout(figure, "mean of both, Gy", "difference to the reference, Gy")


def difference_picture(comparison: Comparison) -> str:
    """Return the coronal difference maps through the reference's maximum as an embedded PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    base = array_of(comparison.doses[comparison.reference])
    y = int(np.unravel_index(int(np.argmax(base)), base.shape)[1])
    spacing = comparison.doses[comparison.reference].GetSpacing()
    figure = Figure(figsize=(3.6 * len(comparison.differences), 3.6), dpi=90)
    FigureCanvasAgg(figure)
    for number, (name, image) in enumerate(comparison.differences.items()):
        axes = figure.add_subplot(1, len(comparison.differences), number + 1)
        coronal = array_of(image)[:, y, :]
        limit = max(float(np.percentile(np.abs(coronal), 99.5)), 1e-9)
        shown = axes.imshow(
            coronal, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, aspect=spacing[2] / spacing[0]
        )
        axes.set_title(f"{name} - {comparison.reference}, Gy", fontsize=9)
        axes.set_axis_off()
        figure.colorbar(shown, ax=axes, fraction=0.05)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="difference of the dose maps, coronal" src="data:image/png;base64,{encoded}">'


def _layout(figure: Any, x: str, y: str) -> Any:
    return figure.update_layout(
        template="plotly_white",
        height=380,
        margin={"l": 60, "r": 20, "t": 20, "b": 45},
        xaxis_title=x,
        yaxis_title=y,
        font={"family": "system-ui, sans-serif", "size": 12},
    )
