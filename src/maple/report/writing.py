"""Tables as text for a paper: LaTeX and Markdown, in which nothing is a command."""

from __future__ import annotations

import re

from maple.report.ledger import Grid

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{MINUS SIGN}": "$-$",
    "–": "--",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "→": r"$\rightarrow$",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~!&$])")


def latex(grid: Grid) -> str:
    """A table for the packages booktabs and, for triangles, amssymb; its notes are comments."""
    head = "".join(f"% {_plain(note)}\n" for note in grid.notes)
    lines = [
        " & ".join(_latex(text) for text in row) + r" \\" for row in (grid.columns, *grid.rows)
    ]
    aligned = "l" * len(grid.columns)
    return (
        f"{head}\\begin{{tabular}}{{{aligned}}}\n\\toprule\n{lines[0]}\n\\midrule\n"
        + "".join(f"{line}\n" for line in lines[1:])
        + "\\bottomrule\n\\end{tabular}\n"
    )


def markdown(grid: Grid) -> str:
    """A table with its notes below."""
    lines = ["| " + " | ".join(_markdown(text) for text in grid.columns) + " |"]
    lines.append("|" + " --- |" * len(grid.columns))
    lines += ["| " + " | ".join(_markdown(text) for text in row) + " |" for row in grid.rows]
    notes = "".join(f"\n{_markdown(note)}\n" for note in grid.notes)
    return "\n".join(lines) + "\n" + notes


def _plain(text: str) -> str:
    """On one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _plain(text))


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", _plain(text))
