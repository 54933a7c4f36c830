"""The plugin of the golden transcripts in Python: an order says what to do; the same in `golden.mjs` and `golden_plugin.rs`."""

import asyncio
import os
import subprocess
import sys

from trunkline import (
    Batch,
    Context,
    Event,
    Fatal,
    InstanceContext,
    Json,
    NeedsAuth,
    Plugin,
    Receipt,
    Reject,
    Reply,
    Retry,
    RetryLater,
    ToolError,
    TrunklineError,
    Unavailable,
    run,
)

plugin = Plugin("golden", version="0.1.0", credit=(8, 65536))
INBOUND = "plugin.inbound.golden.default"


def fault(error: TrunklineError) -> Reply:
    return Reply({"code": error.code, "message": error.message, "retryable": error.retryable})


def shown(ctx: Context) -> dict:
    event, delivery = ctx.event, ctx.delivery
    return {
        "attempt": delivery.attempt,
        "blobs": event.blobs,
        "causation_id": event.causation_id,
        "correlation_id": event.correlation_id,
        "expires_at": event.expires_at,
        "id": event.id,
        "idempotency_key": ctx.idempotency_key,
        "metadata": event.metadata,
        "raw": event.raw.decode(),
        "redelivered": delivery.redelivered,
        "session_id": event.session_id,
        "session_key": event.session_key,
        "source": event.source,
        "timestamp": event.timestamp,
        "topic": ctx.topic,
        "traceparent": event.traceparent,
    }


async def publish(ctx: Context, payload: object, topic: str = INBOUND) -> Reply:
    try:
        done = await ctx.publish(topic, payload)
    except TrunklineError as error:
        return fault(error)
    return Reply({"duplicate": done.duplicate, "matched": done.matched, "seq": done.seq})


@plugin.outbound("golden")
async def handle(order: Json, ctx: Context):
    match order["do"]:
        case "reply":
            return Reply(order["value"])
        case "nothing":
            return None
        case "text":
            return "P-1"
        case "receipt":
            return Receipt("delivered", provider_id="P-2")
        case "retry":
            return Retry("30s", "later")
        case "retry_uncounted":
            raise Retry("1s", "not yet", counted=False)
        case "retry_bare":
            return Retry("5", "a bare number")
        case "reject":
            return Reject("no such number", "bad_number")
        case "fail":
            raise ValueError("boom")
        case "error":
            raise Unavailable("the network is away")
        case "needs_auth":
            raise NeedsAuth("log in again", url="https://example.com/login")
        case "retry_later":
            raise RetryLater("the network is away", after="30s")
        case "fatal":
            raise Fatal("the account is gone")
        case "event":
            return Event.inbound({"conversation": {"id": "7"}, "text": "one"})
        case "batch":
            return Batch(
                [Event.inbound({"text": "one"}, id="own-1"), Event.new("agent.note", "", {"text": "two"})]
            ).put("seen", order["do"])
        case "publish":
            return await publish(ctx, {"n": 1})
        case "publish_to":
            return await publish(ctx, {"n": 1}, order["topic"])
        case "publish_through":
            await ctx.publish("agent.note", {"n": 1})
        case "publish_nan":
            return await publish(ctx, {"n": [1, float("nan")]})
        case "publish_infinity":
            return await publish(ctx, {"n": float("-inf")})
        case "publish_surrogate":
            return await publish(ctx, {"text": "\ud800"})
        case "reply_nan":
            return Reply({"n": float("nan")})
        case "reply_now":
            await ctx.reply({"text": "at once"})
            return None
        case "kv":
            revision = await ctx.kv.put("count", 1)
            found = await ctx.kv.get("count")
            return Reply({"found": found, "revision": revision})
        case "kind":
            return Event.new("agent.seen", "", {"kind": ctx.kind})
        case "show":
            return Reply(shown(ctx))
        case "print":
            print("no newline", end="")
            sys.stdout.flush()
            os.write(1, b"straight to the descriptor")
            subprocess.run(["printf", "by a child"], check=True)
            return await publish(ctx, {"n": 1})


@plugin.on("agent.ask", name="ask")
async def ask(order: Json, ctx: Context):
    return await handle(order, ctx)


@plugin.on("agent.slow", name="slow", timeout="300ms")
async def slow(order: Json, ctx: Context) -> None:
    await asyncio.Event().wait()


@plugin.on("agent.>", name="every")
async def every(order: Json, ctx: Context) -> Event:
    return Event.new("agent.seen", "", shown(ctx))


@plugin.tool(input={"type": "object"}, description="Do what is said.", timeout="20s", concurrency=200)
async def obey(order: Json, ctx: Context):
    match order["do"]:
        case "value":
            return order["value"]
        case "nothing":
            return None
        case "error":
            raise ToolError("too old", "too_old", retryable=True)
        case "known":
            return ToolError("no such charge", "not_found")
        case "retry":
            raise Retry("3s", "busy")
        case "reject":
            return Reject("no", "invalid_arguments")
        case "fail":
            raise ValueError("boom")
        case "nan":
            return {"n": float("nan")}
        case "show":
            return {
                "caller": ctx.caller,
                "delivery": ctx.delivery is not None,
                "idempotency_key": ctx.idempotency_key,
                "session_id": ctx.session.id,
                "topic": ctx.topic,
            }
        case "publish":
            done = await ctx.publish("agent.note", {"n": 1})
            return done.seq
        case "progress":
            ctx.progress(1, 2, "half", {"n": 1})
            return None
        case "wait":
            ctx.progress(message="began")
            await asyncio.Event().wait()
        case "call":
            try:
                return await ctx.call_tool("other.inner", {"n": 1}, timeout="2s", idempotency_key="k")
            except TrunklineError as error:
                return {"code": error.code, "message": error.message, "retryable": error.retryable}
        case "steps":
            call = ctx.call_tool("other.inner", {}, timeout="2s", instance="a")
            steps = [[step.kind, step.data, step.message] async for step in call]
            return {"result": await call, "steps": steps}


@plugin.tool("count", input={"type": "object"}, output={"type": "string"}, idempotent=True)
async def count(order: Json, ctx: Context):
    ctx.progress(0, order["to"], "counting")
    for n in range(order["to"]):
        yield f"{n} "


@plugin.on_start
async def start(ctx: InstanceContext) -> None:
    match ctx.config.get("start"):
        case "needs_auth":
            raise NeedsAuth("log in", url="https://example.com/login")
        case "retry_later":
            raise RetryLater("the network is away", after="30s")
        case "fatal":
            raise Fatal("no such account")
        case "fail":
            raise ValueError("boom")
        case "publish":
            await ctx.publish(INBOUND, {"text": "before the first event"}, id="first")
        case "progress":
            ctx.progress(1, 2, "scan the code", {"qr": "2@abc"})
            ctx.progress(message="signing in")


def said(what: str) -> None:
    with open(os.environ["GOLDEN_HOOKS"], "a") as file:
        file.write(f"{what}\n")


@plugin.on_stop
async def stop(ctx: InstanceContext, reason: str) -> None:
    said("stop")
    if ctx.config.get("stop") == "fail":
        raise ValueError("boom")


@plugin.on_config
async def config(ctx: InstanceContext, new) -> None:
    said(f"config {new.get('level')}")
    if new.get("level") == "bad":
        raise Reject("level must not be bad", "bad_level")
    if new.get("level") == "boom":
        raise ValueError("boom")


@plugin.on_pause
async def pause(ctx: InstanceContext, reason: str) -> None:
    said(f"pause {reason}")


@plugin.on_resume
async def resume(ctx: InstanceContext, reason: str) -> None:
    said("resume")


if __name__ == "__main__":
    run(plugin)
