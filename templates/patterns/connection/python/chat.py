"""A bot on a chat's gateway, over one WebSocket."""

from trunkline import Batch, Context, Event, Json, OutboundMessage, Plugin, Retry, run

plugin = Plugin("{{name}}")


@plugin.connect("chat", url="{config.url}", idle="60s", fatal=[4004])  # 4004: a bad token
async def frame(f: Json, ctx: Context) -> Batch | None:
    if f["op"] == "message":
        event = Event.inbound({"text": f["text"], "conversation": {"id": f["room"]}})
        return Batch([event], cursor=f["seq"], ack={"op": "ack", "seq": f["seq"]})
    if f["op"] == "reconnect":
        raise Retry("0s", "the server asked")  # the new socket is up before the old one closes
    if f["op"] == "hello":
        beat = {"op": "beat", "seq": "{cursor}"}
        ctx.conn.heartbeat(f["every"], beat, expect={"op": "beat_ack"})
        login = {"op": "login", "token": ctx.config["token"], "resume": ctx.conn.cursor}
        await ctx.conn.send(login)
    return None


@plugin.outbound("chat", rate="5/s")
async def send(message: OutboundMessage, ctx: Context) -> None:
    say = {"op": "say", "room": message.conversation.id, "text": message.text}
    await ctx.conn.send(say)  # while there is no connection, the message waits


if __name__ == "__main__":
    run(plugin)
