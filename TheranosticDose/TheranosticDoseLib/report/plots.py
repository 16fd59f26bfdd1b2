"""Plotly figures of the report: curves with their uncertainty, DVHs, uncertainty budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.report.pictures import color_of

if TYPE_CHECKING:
    from TheranosticDoseLib.workflow.results import Results, VoiResult

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def _layout(figure: Any, x: str, y: str, height: int) -> Any:
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 20, "b": 45},
        xaxis_title=x,
        yaxis_title=y,
        legend={"font": {"size": 11}},
        font={"family": "system-ui, sans-serif", "size": 12},
    )
    return figure


def time_activity_figure(results: Results) -> Any:
    """Return the curve of every VOI with points, k=1 bars and band; the body is left to the table."""
    import plotly.graph_objects as go

    figure = go.Figure()
    times = np.array(results.study.time_h)
    last = max(1.6 * times[-1], 120.0)
    grid = np.concatenate([np.linspace(0, times[0], 20), np.linspace(times[0], last, 200)[1:]])
    for number, result in enumerate(r for r in results.vois if r.voi.kind != "body" and r.fit is not None):
        for trace in _curve_traces(result, times, grid, color_of(result.name, number)):
            figure.add_trace(trace)
    shown = [a for r in results.vois if r.voi.kind != "body" and r.fit for a in r.activity_mbq if a > 0]
    if shown:
        # An uptake starts at nothing; the axis shows what was measured, not the logarithm of zero.
        limits = [np.log10(0.2 * min(shown)), np.log10(2.0 * max(shown))]
        figure.update_yaxes(range=limits)
    figure.update_yaxes(type="log", exponentformat="none", dtick=1)
    return _layout(figure, "time after administration, h", "activity, MBq", 460)


def _curve_traces(result: VoiResult, times: np.ndarray, grid: np.ndarray, color: str) -> list[Any]:
    import plotly.graph_objects as go

    activity, u = (np.asarray(values, float) for values in result.fit.predict(grid))
    group = {"legendgroup": result.name}
    u = np.where(np.isfinite(u), u, 0.0)
    low, high = np.maximum(activity - u, 1e-3 * np.maximum(activity, 1e-9)), activity + u
    return [
        go.Scatter(
            x=np.concatenate([grid, grid[::-1]]), y=np.concatenate([high, low[::-1]]), fill="toself",
            fillcolor=color, opacity=0.15, line={"width": 0}, hoverinfo="skip", showlegend=False, **group,
        ),
        go.Scatter(x=grid, y=activity, mode="lines", line={"color": color}, showlegend=False, **group,
                   hovertemplate="%{x:.1f} h: %{y:.3g} MBq<extra>" + result.name + "</extra>"),
        go.Scatter(
            x=times, y=result.activity_mbq, mode="markers", marker={"color": color, "size": 7},
            error_y={"type": "data", "array": list(result.u_activity_mbq), "thickness": 1},
            name=f"{result.name} ({result.fit.model})", **group,
        ),
    ]  # fmt: skip


def dvh_figure(results: Results) -> Any:
    """Return the cumulative DVHs; color by VOI, dash by engine."""
    import plotly.graph_objects as go

    figure = go.Figure()
    several = len(results.doses) > 1
    for number, result in enumerate(r for r in results.vois if r.voi.kind != "body"):
        for dash, (engine, dvh) in zip(DASHES, result.dvh.items(), strict=False):
            dose_gy, percent = dvh.curve(160)
            figure.add_trace(
                go.Scatter(
                    x=dose_gy, y=percent, mode="lines", legendgroup=result.name,
                    line={"color": color_of(result.name, number), "dash": dash},
                    name=f"{result.name}, {engine}" if several else result.name,
                    hovertemplate="%{x:.2f} Gy: %{y:.1f} %<extra>" + f"{result.name} {engine}</extra>",
                )
            )  # fmt: skip
    return _layout(figure, "absorbed dose, Gy", "volume, %", 420)


def budget_figure(results: Results, engine: str) -> Any | None:
    """Return the contributions to the relative uncertainty of each VOI's mean dose; ``None`` without budgets."""
    import plotly.graph_objects as go

    budgets = {r.name: r.uncertainty[engine] for r in results.vois if engine in r.uncertainty}
    if not budgets:
        return None
    sources = list(dict.fromkeys(c["source"] for b in budgets.values() for c in b["contributions"]))
    figure = go.Figure()
    for source in sources:
        # Variances add up, so each bar is the share of the variance times the total.
        values = []
        for budget in budgets.values():
            variance = sum(c["relative_u"] ** 2 for c in budget["contributions"])
            part = sum(c["relative_u"] ** 2 for c in budget["contributions"] if c["source"] == source)
            values.append(100 * budget["relative_u_dose"] * part / variance if variance > 0 else 0.0)
        figure.add_trace(go.Bar(y=list(budgets), x=values, orientation="h", name=source))
    figure.update_layout(barmode="stack")
    figure.update_yaxes(autorange="reversed")
    return _layout(
        figure, f"relative standard uncertainty of the mean dose ({engine}), %", "", 90 + 26 * len(budgets)
    )
