# SPDX-License-Identifier: GPL-2.0-only
"""A controller that searches without end, as a process of its own: it is there to be killed.

``python -m tests.kernel.victim NAMESPACE TOOLCHAIN SAMPLE_SHIFT``; events go to stdout.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import Campaign
from iridescent_xdp.controller import Controller
from iridescent_xdp.events import EventLog
from tests.kernel.live import fixed, plan_for
from traffic.testbed import inside

POINTS = fixed(rule_layout=("map", "tree"), counter_batch=("1", "64"))


def main(namespace: str, toolchain: str, sample_shift: str) -> None:
    """Attach or take over, then search again and again."""
    plan = plan_for(policy={"sample_shift": int(sample_shift)}, points=POINTS, max_seconds=60)
    with inside(namespace):
        controller = Controller(plan, Builder(toolchain), EventLog(None, tell))
        while True:
            campaign = Campaign(controller)
            campaign.run()
            campaign.close()


def tell(line: dict[str, Any]) -> None:
    """One event for the parent."""
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
