"""How figures look: Vega-Lite specifications that the page and the files share.

A specification is a template: a string that is "$" and a name stands for the value of that name.
Rows come in as the data set "rows"; which fields they have is said above each. Every row has
`about`, the text shown over its mark. All values are in points of 100, costs in the axis's unit.

Nothing that a model wrote is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

Spec = dict[str, Any]

_FONT = "Helvetica, Arial, Liberation Sans, sans-serif"

_ABOUT: Spec = {"field": "about", "type": "nominal"}
_ZERO: Spec = {
    "data": {"values": [{}]},
    "mark": {"type": "rule", "color": "$muted", "strokeDash": [3, 3], "tooltip": False},
}


def _order(field: str, title: str | None, **more: object) -> Spec:
    """A discrete channel in the order that the rows state."""
    sort = {"field": f"{field}_order", "op": "min"}
    return {"field": field, "type": "nominal", "sort": sort, "title": title, **more}


def _panels(spec: Spec) -> Spec:
    """Small multiples by the field `panel`."""
    header = {"labelExpr": "split(datum.label, '; ')", "labelLimit": 360, "labelPadding": 6}
    facet = {**_order("panel", None), "header": header}
    return {"data": {"name": "rows"}, "facet": facet, "columns": "$columns", "spec": spec}


_SHADE: Spec = {
    "condition": {
        "test": "isValid(datum.delta)",
        "field": "delta",
        "type": "quantitative",
        "legend": None,
        "scale": {
            "range": "diverging",
            "domainMin": "$low",
            "domainMid": 0,
            "domainMax": "$high",
            "clamp": True,
            "interpolate": "rgb",
        },
    },
    "value": "$empty",
}
_INK: Spec = {"condition": {"test": "datum.loud", "value": "$loud"}, "value": "$ink"}
_REACH: Spec = {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}}

_STROKES: Spec = {
    "symbolType": "stroke",
    "symbolSize": 260,
    "symbolStrokeWidth": 2,
    "symbolOpacity": 1,
}

# panel, panel_order, r, r_order, bits, bits_order, delta, text, interval, loud
_HEATMAP = _panels(
    {
        "width": {"step": 104},
        "height": {"step": 46},
        "encoding": {
            "x": _order("bits", "bits", axis={"labelAngle": 0, "domain": False, "ticks": False}),
            "y": _order("r", "rank r", axis={"domain": False, "ticks": False}),
            "tooltip": _ABOUT,
        },
        "layer": [
            {
                "mark": {"type": "rect", "stroke": "$ground", "strokeWidth": 2, "invalid": None},
                "encoding": {"color": _SHADE},
            },
            {
                "mark": {
                    "type": "text",
                    "dy": -7,
                    "fontSize": 13,
                    "fontWeight": 600,
                    "invalid": None,
                },
                "encoding": {"text": {"field": "text"}, "color": _INK},
            },
            {
                "mark": {"type": "text", "dy": 9, "fontSize": 10.5},
                "encoding": {"text": {"field": "interval"}, "color": _INK},
            },
        ],
    }
)

# panel, panel_order, group, r, delta, low, high
_GROUP: Spec = {
    "field": "group",
    "type": "nominal",
    "sort": None,
    "title": None,
    "scale": {"domain": "$groups"},
    "legend": {"orient": "bottom", **_STROKES},
}
_SLOPES = _panels(
    {
        "width": 220,
        "height": 190,
        "encoding": {
            "x": {
                "field": "r",
                "type": "quantitative",
                "title": "rank r",
                "scale": {"type": "log", "base": 2, "nice": False, "padding": 14},
                "axis": {"values": "$ranks", "format": "d", "grid": False},
            },
            "color": _GROUP,
            "tooltip": _ABOUT,
        },
        "layer": [
            {**_ZERO, "encoding": {"y": {"datum": 0}, "x": None, "color": None, "tooltip": None}},
            {"mark": {"type": "area", "opacity": 0.16}, "encoding": _REACH},
            {
                "mark": {"type": "line", "strokeWidth": 2, "point": False},
                "encoding": {
                    "y": {
                        "field": "delta",
                        "type": "quantitative",
                        "title": "difference, points",
                    },
                    "strokeDash": {**_GROUP, "scale": {"domain": "$groups"}},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 46, "opacity": 1},
                "encoding": {"y": {"field": "delta", "type": "quantitative"}},
            },
        ],
    }
)

# x, x_order, y, y_order, delta, text, mark, inside, loud
_MATRIX: Spec = {
    "data": {"name": "rows"},
    "width": {"step": "$width"},
    "height": {"step": "$height"},
    "encoding": {
        "x": _order(
            "x",
            None,
            axis={
                "orient": "top",
                "labelAngle": "$angle",
                "labelLimit": 260,
                "domain": False,
                "ticks": False,
                "labelPadding": 4,
            },
        ),
        "y": _order(
            "y",
            None,
            axis={"labelLimit": 260, "domain": False, "ticks": False, "labelPadding": 6},
        ),
        "tooltip": _ABOUT,
    },
    "layer": [
        {
            "mark": {"type": "rect", "stroke": "$ground", "strokeWidth": 1, "invalid": None},
            "encoding": {"color": _SHADE},
        },
        {
            "transform": [{"filter": "datum.inside"}],
            "mark": {
                "type": "rect",
                "filled": False,
                "stroke": "$ink",
                "strokeWidth": 1.5,
                "fillOpacity": 0,
            },
        },
        {
            "transform": [{"filter": "datum.text !== ''"}],
            "mark": {"type": "text", "fontSize": 11},
            "encoding": {"text": {"field": "text"}, "color": _INK},
        },
        {
            "transform": [{"filter": "datum.text === '' && datum.mark !== ''"}],
            "mark": {"type": "point", "filled": True, "size": 9, "opacity": 1},
            "encoding": {"color": _INK},
        },
    ],
}

# label, label_order, delta, low, high, clear
_FOREST: Spec = {
    "data": {"name": "rows"},
    "width": "$width",
    "height": {"step": "$step"},
    "encoding": {
        # Before the bars, or above each where the page is narrow.
        "y": _order(
            "label",
            None,
            axis={
                "domain": False,
                "ticks": False,
                "labelLimit": "$limit",
                "labelAlign": "$align",
                "labelPadding": "$padding",
                "labelOffset": "$offset",
            },
        ),
        "tooltip": _ABOUT,
    },
    "layer": [
        {**_ZERO, "encoding": {"x": {"datum": 0}, "y": None, "tooltip": None}},
        {
            "mark": {"type": "rule", "strokeWidth": 1.5, "color": "$muted"},
            "encoding": {
                "x": {
                    "field": "low",
                    "type": "quantitative",
                    "title": "difference to the untuned base, points",
                },
                "x2": {"field": "high"},
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 42, "opacity": 1},
            "encoding": {
                "x": {"field": "delta", "type": "quantitative"},
                "color": {
                    "condition": {"test": "datum.clear", "value": "$below"},
                    "value": "$muted",
                },
            },
        },
    ],
}

# cost, delta, low, high, group, group_order, shape, front
_PARETO: Spec = {
    "data": {"name": "rows"},
    "width": "$width",
    "height": 300,
    "encoding": {
        "x": {
            "field": "cost",
            "type": "quantitative",
            "title": "$cost",
            "scale": {"type": "log", "nice": False, "padding": 18},
            "axis": {"tickCount": 6, "format": "~s"},
        },
        "tooltip": _ABOUT,
    },
    "layer": [
        {**_ZERO, "encoding": {"y": {"datum": 0}, "x": None, "tooltip": None}},
        {
            "transform": [{"filter": "datum.front"}],
            "mark": {
                "type": "line",
                "interpolate": "step-after",
                "color": "$ink",
                "strokeWidth": 1.2,
                "strokeDash": [5, 3],
                "tooltip": False,
            },
            "encoding": {
                "y": {"field": "delta", "type": "quantitative"},
                "detail": {"field": "shape", "type": "nominal"},
            },
        },
        {"mark": {"type": "rule", "color": "$muted", "opacity": 0.55}, "encoding": _REACH},
        {
            "mark": {"type": "point", "filled": True, "size": 62, "opacity": 0.95},
            "encoding": {
                "y": {
                    "field": "delta",
                    "type": "quantitative",
                    "title": "mean difference, points",
                },
                "color": _order("group", None, legend={"orient": "bottom"}),
                "shape": {
                    "field": "shape",
                    "type": "nominal",
                    "sort": None,
                    "title": None,
                    "legend": {
                        "orient": "bottom",
                        "symbolFillColor": "$muted",
                        "symbolStrokeColor": "$muted",
                    },
                },
            },
        },
    ],
}

# panel, panel_order, series, bits, run, held, step, loss
_CURVES = _panels(
    {
        "width": 290,
        "height": 180,
        "encoding": {
            "x": {
                "field": "step",
                "type": "quantitative",
                "title": "step",
                "axis": {"tickMinStep": 1, "format": "d", "grid": False},
            },
            "y": {
                "field": "loss",
                "type": "quantitative",
                "title": "loss, nats a token",
                "scale": {"zero": True},
            },
            "color": {
                "field": "series",
                "type": "ordinal",
                "sort": None,
                "title": None,
                "legend": {"orient": "bottom", "columns": 3, **_STROKES},
            },
            "tooltip": _ABOUT,
        },
        "layer": [
            {
                "transform": [{"filter": "datum.held === ''"}],
                "mark": {"type": "line", "strokeWidth": 1.5},
                "encoding": {
                    "detail": {"field": "run", "type": "nominal"},
                    "strokeDash": {
                        "field": "bits",
                        "type": "nominal",
                        "sort": None,
                        "title": None,
                        "legend": {"orient": "bottom", **_STROKES},
                    },
                },
            },
            {
                "transform": [{"filter": "datum.held !== ''"}],
                "mark": {"type": "point", "size": 30, "strokeWidth": 1.3},
                "encoding": {
                    "shape": {
                        "field": "held",
                        "type": "nominal",
                        "title": "held out",
                        "legend": {"orient": "bottom", "columns": 2},
                    }
                },
            },
        ],
    }
)

SPECS: dict[str, Spec] = {
    "heatmap": _HEATMAP,
    "slopes": _SLOPES,
    "matrix": _MATRIX,
    "forest": _FOREST,
    "pareto": _PARETO,
    "curves": _CURVES,
}


def _theme(colours: Mapping[str, str], diverging: list[str], groups: list[str]) -> Spec:
    axis = {"labelFontSize": 11.5, "titleFontSize": 11.5, "titleFontWeight": "normal"}
    return {
        "values": dict(colours),
        "config": {
            "font": _FONT,
            "background": colours["ground"],
            "padding": 8,
            "view": {"stroke": None},
            "range": {
                "diverging": diverging,
                "category": groups,
                "ordinal": {"scheme": "viridis", "extent": [0.1, 0.85]},
            },
            "axis": {
                **axis,
                "labelColor": colours["muted"],
                "titleColor": colours["muted"],
                "gridColor": colours["grid"],
                "domainColor": colours["line"],
                "tickColor": colours["line"],
            },
            "header": {
                "labelColor": colours["ink"],
                "labelFontSize": 12,
                "labelFontWeight": 600,
                "labelAlign": "left",
                "labelAnchor": "start",
            },
            "legend": {
                **axis,
                "labelColor": colours["ink"],
                "titleColor": colours["muted"],
                "labelLimit": 260,
            },
        },
    }


# Orange against blue with a neutral middle: told apart by all common kinds of colour blindness.
THEMES: dict[str, Spec] = {
    "light": _theme(
        {
            "ground": "#ffffff",
            "ink": "#1f2328",
            "loud": "#ffffff",
            "muted": "#59636e",
            "empty": "#eef0f2",
            "grid": "#e8ebee",
            "line": "#c9ced4",
            "below": "#b35806",
        },
        ["#9c4a00", "#d07f2c", "#f3c28d", "#f4f5f6", "#a9cbea", "#4b8cc8", "#11508f"],
        ["#1f6fb8", "#c4620a", "#4f5b66", "#7a4fa3", "#2b8a62"],
    ),
    "dark": _theme(
        {
            "ground": "#14171a",
            "ink": "#e6e9ec",
            "loud": "#0d1013",
            "muted": "#9aa4ae",
            "empty": "#1d2126",
            "grid": "#272c32",
            "line": "#3d444c",
            "below": "#ffab5c",
        },
        ["#ffb469", "#c27a34", "#6e4a2a", "#262b31", "#26486a", "#3f81bd", "#8cc6ff"],
        ["#6fb2f2", "#f0a04b", "#aab4be", "#bf9be0", "#6cc7a0"],
    ),
}


def filled(name: str, values: Mapping[str, object], rows: list[Spec], theme: str) -> Spec:
    """A specification with its values, rows and colours in place; `js/figures.js` does the same."""
    chosen = THEMES[theme]
    known = {**chosen["values"], **values}
    spec = cast("Spec", _replaced(SPECS[name], known))
    return {**spec, "datasets": {"rows": rows}, "config": chosen["config"]}


def _replaced(part: object, values: Mapping[str, object]) -> object:
    if isinstance(part, dict):
        return {key: _replaced(value, values) for key, value in part.items()}
    if isinstance(part, list):
        return [_replaced(value, values) for value in part]
    if isinstance(part, str) and part.startswith("$"):
        return values[part[1:]]
    return part
