"""Measurements in processes of their own, all started alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def child(script: str, **job: Any) -> dict[str, Any]:
    """What `script --child JOB` prints as the last line of its output; the end where it fails."""
    done = subprocess.run(
        [sys.executable, script, "--child", json.dumps(job, default=str)],
        env={"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", **os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{job}: failed\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))
