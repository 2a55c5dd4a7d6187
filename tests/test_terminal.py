"""What others wrote does nothing to a terminal but show."""

from __future__ import annotations

import pytest

from maple import terminal

ALIVE = "a\x1b[31mred\x1b]0;title\x07\x9b2J\u202eb\u2066[bold]"
DEAD = "a\ufffd[31mred\ufffd]0;title\ufffd\ufffd2J\ufffdb\ufffd[bold]"


def test_lines_cells_and_headings_hold_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal.stdout.print(f"{ALIVE}\tone\ntwo", markup=False)
    terminal.stderr.print(ALIVE, markup=False)
    terminal.show_table("", [ALIVE.replace("[bold]", "")], [[ALIVE]])
    said = capsys.readouterr()
    assert said.err == f"{DEAD}\n"
    lines = said.out.splitlines()
    assert lines[0].startswith(DEAD)
    assert lines[1] == "two"
    assert DEAD.replace("[bold]", "") in lines[3]
    assert DEAD in lines[5]
    assert not set("\x1b\x07\x9b\u202e\u2066") & set(said.out)
