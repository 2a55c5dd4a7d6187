"""Measurements in processes of their own, all started alike."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from maple.sweep.executors import environment


def child(script: str, **job: Any) -> dict[str, Any]:
    """What `script --child JOB` prints as the last line of its output; the end where it fails."""
    done = subprocess.run(
        [sys.executable, script, "--child", json.dumps(job, default=str)],
        env={**environment(), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{job}: failed\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))
