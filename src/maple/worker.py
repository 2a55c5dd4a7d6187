"""One unit of work in a process of its own: `python -m maple.worker UNIT`.

Events go to stdout, one JSON object a line; everything else goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from maple.errors import MapleError
from maple.sweep.executors import UNIT
from maple.sweep.unit import run_unit


def main() -> None:
    """Run the unit in the file named on the command line."""
    path, *options = sys.argv[1:]
    if "--die-with-parent" in options:
        threading.Thread(target=_die_with_parent, daemon=True).start()
    unit = UNIT.validate_json(Path(path).read_bytes())
    # Libraries print to stdout now and then; the events keep a descriptor of their own.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(event: Mapping[str, object]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    try:
        run_unit(unit, emit)
    except MapleError as error:
        # Not of one cell: the store itself cannot be used, so no later cell could be either.
        emit({"event": "error", "message": error.what, "hint": error.hint})
        sys.exit(1)


def _die_with_parent() -> None:
    # The pipe is never written to: it ends when the parent does, even by SIGKILL.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
