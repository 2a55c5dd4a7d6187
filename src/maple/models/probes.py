"""Probe prompts: what shows that an adapter answers, whatever the engine."""

from __future__ import annotations

PROBES = (
    "The baker opened the shop before sunrise, because",
    "El tren llegó tarde a la estación y los viajeros",
    "Mwalimu aliwauliza wanafunzi swali, kisha",
    "Водій зупинив автобус біля школи, тому що",
    "في الصباح الباكر ذهب الصياد إلى البحر",
    "किसान ने खेत में बीज बोए और",
    "雨が降り始めたので、子どもたちは",
    "因为商店已经关门，所以她",
)
"""Openings in several languages and scripts, written for this purpose."""
