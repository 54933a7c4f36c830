"""A Telegram bot: what people write comes in, what agents send goes out."""

from trunkline import Batch, Context, Event, InstanceContext, Json, OutboundMessage, Plugin, run

plugin = Plugin("{{name}}")
API = "{config.api}/bot{config.bot_token}"


def to_event(update: Json) -> Event:
    message, chat = update["message"], update["message"]["chat"]
    sender = message.get("from") or chat
    text = message.get("text") or message.get("caption") or ""
    who = {"id": str(sender["id"]), "name": sender.get("first_name")}
    where = {"id": str(chat["id"]), "kind": chat["type"]}
    payload = {"text": text, "sender": who, "conversation": where}
    return Event.inbound(payload, id=f"update:{update['update_id']}")


@plugin.on_start
async def start(ctx: InstanceContext) -> Json:  # who it is becomes ctx.state; a bad token is said at once
    return (await ctx.http.at(API).post("/getMe")).json()["result"]


@plugin.poll("telegram", every="0s", timeout="45s")  # 0s: again as soon as the last batch is durable
async def updates(offset: int | None, ctx: Context) -> Batch:
    query = {"offset": offset or 0, "timeout": 25, "allowed_updates": ["message"]}
    found = (await ctx.http.at(API).post("/getUpdates", json=query, timeout="40s")).json()["result"]
    events = [to_event(update) for update in found]
    return Batch(events, cursor=found[-1]["update_id"] + 1 if found else offset)


@plugin.outbound("telegram", rate="30/s", rate_per_target="1/s")
async def send(message: OutboundMessage, ctx: Context) -> str:
    say = {"chat_id": message.conversation.id, "text": message.text}
    return str((await ctx.http.at(API).post("/sendMessage", json=say)).json()["result"]["message_id"])


if __name__ == "__main__":
    run(plugin)
