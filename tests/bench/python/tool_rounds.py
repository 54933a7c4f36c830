"""What every agent of the tool benchmark does: rounds of calls, one at a time, each answer looked at."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable


async def rounds(call: Callable[[int, int], Awaitable[int]]) -> None:
    """Makes as many calls as each line of stdin says, and answers with a line of p50 and p99 in microseconds."""
    for line in iter(sys.stdin.readline, ""):
        latencies = []
        for number in range(int(line)):
            begin = time.perf_counter()
            found = await call(number, 2)
            latencies.append(time.perf_counter() - begin)
            if found != number + 2:
                sys.exit(f"expected {number + 2}, found {found}")
        latencies.sort()
        middle, late = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
        print(f"{middle * 1e6:.1f} {late * 1e6:.1f}", flush=True)
        await asyncio.sleep(0)
