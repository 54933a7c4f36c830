"""The plugin of the fault suites in Python: it writes the shared history and echoes; the same in `harness.mjs`."""

import json
import os
import time

from trunkline import Context, InstanceContext, Json, Plugin, Reply, run

CREDIT = 16
LINK = (1 << 32) + os.getpid()

plugin = Plugin("harness", version="0.1.0", credit=(CREDIT, 8 << 20))
history = -1
handled = 0


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def record(**what: object) -> None:
    line = json.dumps({"at": time.monotonic_ns() // 1_000_000, "what": what}, separators=(",", ":"))
    os.write(history, line.encode() + b"\n")


@plugin.on_start
async def start(ctx: InstanceContext) -> None:
    global history
    history = os.open(ctx.config["history"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    with open(ctx.config["life"]) as file:
        life = int(file.read())
    record(type="attach", sub="instance.harness.main", link=LINK, life=life, pid=os.getpid(), credit=CREDIT)


@plugin.outbound("harness")
async def echo(payload: Json, ctx: Context) -> Reply:
    global handled
    handled += 1
    event, delivery = ctx.event, ctx.delivery
    settled = {"sub": delivery.subscription, "delivery": f"{LINK}-{handled}", "id": event.id}
    record(
        type="dlv", **settled, link=LINK, session=event.session_id, hash=fnv1a(event.raw),
        attempt=delivery.attempt, redelivered=delivery.redelivered, lease_ms=30000,
    )
    record(type="ack.sent", **settled)
    return Reply(payload)


run(plugin)
