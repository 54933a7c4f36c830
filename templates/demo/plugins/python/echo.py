"""The echo channel in Python: what is sent to it comes back in."""

import time

from trunkline import Json, Plugin, Reply, run

plugin = Plugin("echo-python", version="0.1.0")


@plugin.outbound("python")
async def echo(payload: Json) -> Reply:
    """Answers with what it got and when it got it; the receipt says `sent`, and both go with the ack."""
    received_us = time.time_ns() // 1000
    return Reply({**payload, "raw": {"echo": {"received_us": received_us}}})


if __name__ == "__main__":
    run(plugin)
