"""A contestant's side of a benchmark: says when it is ready, then trains a portion whenever it is told to go.

Needs nothing but Python, so that it works in every peer's environment.
"""

import json
import os
import sys
import time
from collections.abc import Callable


def serve(spend: Callable[[], int], compiled: float) -> None:
    """Answers each line `go` with a line of JSON: seconds and steps of one portion.

    Args:
        spend: trains one portion to its very end; returns how many environment steps were asked for in it.
        compiled: seconds until it was ready, told apart.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr  # whatever a peer prints is not an answer
    print(json.dumps({"ready": True, "compiled": compiled}), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            return
        start = time.perf_counter()
        steps = spend()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "steps": steps}), file=answers, flush=True)
