"""What an author's code looks like to strict type checkers; only checked, never run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trunkline import (
    Client,
    Context,
    Event,
    FeedItem,
    InboundMessage,
    InstanceContext,
    Json,
    Plugin,
    Published,
    Reply,
    Retry,
    StorageFull,
    SyncContext,
    ToolCall,
    ToolCaller,
    ToolStep,
    payloads,
    run,
    serve,
)
from typing_extensions import assert_type


@dataclass
class Config:
    token: str


@dataclass
class Order:
    id: int


plugin = Plugin("typed", config=Config)
plain = Plugin("plain")
agent = Client("agent")


@plugin.on("agent.x", timeout="5s")
async def order(order: Order, ctx: Context[Config]) -> Reply | Retry | None:
    assert_type(ctx.config, Config)
    assert_type(await ctx.publish("agent.y", order), Published)
    assert_type(ctx.event.session_id, str | None)
    return None


@plugin.on("agent.y")
def blocks(event: Event[Order], ctx: SyncContext) -> list[Event[Any]]:
    assert_type(event.payload, Order)
    assert_type(ctx.publish("agent.y", event.payload), Published)
    assert_type(ctx.config, Mapping[str, Any])
    return [Event.inbound({"text": "x"})]


@plugin.poll("rss", feed="{config.url}", every="30m")
async def news(item: FeedItem, ctx: Context[Config]) -> Event[Any] | None:
    assert_type(item.title, str | None)
    return Event.inbound({"text": item.title}) if item.enclosures else None


@plugin.poll("list", json={"url": "https://a.example", "id_field": "n", "paginate": {"by": "link"}})
def listed(order: Order) -> None:
    assert_type(order.id, int)


@plugin.on_start
async def start(ctx: InstanceContext[Config]) -> Json:
    return {"token": ctx.config.token}


@plugin.tool(input={"type": "object"}, concurrency=8)
async def total(order: Order, ctx: Context[Config]) -> int:
    assert_type(ctx.caller, str | None)
    async for step in ctx.call_tool("other.tool", {}):
        assert_type(step, ToolStep)
    return 7


@agent.on("plugin.inbound.>")
async def answer(message: InboundMessage, ctx: Context) -> Reply:
    assert_type(message.text, str | None)
    assert_type(message.sender.id, str)
    try:
        await ctx.session.kv.put("k", 1, ttl="7d")
    except StorageFull as error:
        return Reply(f"later: {error.retry_after}")
    return Reply(message.text)


@plain.on("agent.bad")  # type: ignore[type-var]
async def bad(payload: Json) -> int:
    return 7


async def main(ctx: Context[Config]) -> None:
    # The decorators give the functions back as they are.
    assert_type(await total(Order(1), ctx), int)
    assert_type(await answer(InboundMessage({}), Context.__new__(Context)), Reply)
    await serve(plugin, agent)


if __name__ == "__main__":
    run(plugin)


async def calls(caller: ToolCaller, client: Client) -> None:
    assert_type(caller.call_tool("a.b"), ToolCall[Any])
    number: ToolCall[int] = client.call_tool("a.b")
    assert_type(await number, int)


@plugin.on("agent.dead")
async def dead(letter: payloads.DeadLetter) -> None:
    assert_type(letter["id"], str)
    assert_type(letter.get("code"), str | None)
