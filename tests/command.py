"""The command, run in the process of the tests."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from maple.cli import main


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def maple(*arguments: str | Path, folder: Path) -> Done:
    """The command in this process, which saves the second that Python takes to start."""
    before = Path.cwd()
    stdout, stderr = io.StringIO(), io.StringIO()
    os.chdir(folder)
    try:
        with (
            mock.patch.object(sys, "argv", ["maple", *map(str, arguments)]),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        os.chdir(before)
    return Done(status, stdout.getvalue(), stderr.getvalue())
