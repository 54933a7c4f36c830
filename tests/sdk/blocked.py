"""The plugin of the blocked loop in Python: a handler that is told to block does; the same in `blocked.mjs`."""

import os
import time

from trunkline import Json, Plugin, Reply, run

os.environ["TRUNKLINE_BLOCKED_MS"] = "1000"
plugin = Plugin("blocked", version="0.1.0")


@plugin.outbound("blocked")
async def echo(payload: Json) -> Reply:
    time.sleep(payload["block_ms"] / 1000)
    return Reply(payload)


run(plugin)
