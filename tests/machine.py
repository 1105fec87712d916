"""train.py as another machine would run it on a shared folder: without the locks of this one.

    python machine.py NAME WORDS...

Signs of life come every 0.2 seconds, and 3 seconds without one are silence.
"""

import sys
from contextlib import nullcontext

from uncollapse.entry import run_main
from uncollapse.runs import heartbeat, layout

SILENCE, INTERVAL, LOOK = 3.0, 0.2, 0.1


def become(name: str) -> None:
    """Let this process take itself for one of the machine of that name."""
    heartbeat.read_system = lambda: name
    heartbeat.socket.gethostname = lambda: name
    heartbeat.SILENCE, heartbeat.LOOK = SILENCE, LOOK
    heartbeat.Heartbeat.__init__.__defaults__ = (INTERVAL,)
    layout.hold_lock = lambda *arguments, **options: nullcontext()


if __name__ == "__main__":
    become(sys.argv.pop(1))
    sys.exit(run_main("uncollapse.cli", clean_stop=False))
