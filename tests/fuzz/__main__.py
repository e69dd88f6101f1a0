"""Run the targets one after the other, with other inputs each time, until the time is over."""

from __future__ import annotations

import argparse
import random
import sys
import time

from hypothesis import HealthCheck, Phase, seed, settings

from tests.fuzz.targets import TARGETS, executed

_AT_ONCE = 100
"""Inputs that a target gets before it is the turn of the next."""


def main() -> int:
    """Return 0 if every target was run and none failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="names of targets; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="how long to run (60)")
    parser.add_argument("--seed", type=int, help="begin with these inputs, as a failure names them")
    options = parser.parse_args()
    known = {target.__name__: target for target in TARGETS}
    chosen = [known[name] for name in options.targets or known]
    number = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    run = settings(
        max_examples=_AT_ONCE, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )  # fmt: skip
    for target in chosen:
        run(target)
    until = time.monotonic() + options.seconds
    while time.monotonic() < until:
        for target in chosen:
            try:
                seed(number)(target)()
            except BaseException:
                print(f"{target.__name__} failed: python -m tests.fuzz --seed {number} {target.__name__}", flush=True)
                raise
        number += 1
    for target in chosen:
        print(f"{target.__name__:12} {executed[target.__name__]:8,} inputs")
    idle = [target.__name__ for target in chosen if not executed[target.__name__]]
    if idle:
        print(f"nothing was run of: {', '.join(idle)}", file=sys.stderr)
    return 1 if idle or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
