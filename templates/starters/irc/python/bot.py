"""A bot on IRC: what people say comes in, what agents send goes out."""

from trunkline import Context, Event, OutboundMessage, Plugin, Reject, run

plugin = Plugin("{{name}}")
GREETING = ["NICK {config.nick}", "USER {config.nick} 0 * :{config.nick}"]


@plugin.connect("irc", url="{config.server}", greeting=GREETING, idle="5m")
async def line(line: str, ctx: Context) -> Event | None:
    source, _, said = line.partition(" ") if line.startswith(":") else ("", "", line)
    command, _, rest = said.partition(" ")
    if command == "PING":
        await ctx.conn.send(f"PONG {rest}")
    elif command == "433":  # the nick is taken
        await ctx.conn.send(f"NICK {ctx.config['nick']}_")
    elif command == "001":  # welcome
        await ctx.conn.send(f"JOIN {ctx.config['room']}")
    if command != "PRIVMSG":
        return None
    target, _, text = rest.partition(" :")
    nick = source[1:].partition("!")[0]
    room = target if target.startswith(("#", "&")) else nick
    return Event.inbound({"text": text, "sender": {"id": nick}, "conversation": {"id": room}})


@plugin.outbound("irc", rate="2/s")
async def send(message: OutboundMessage, ctx: Context) -> None:
    room = message.conversation.id or ctx.config["room"]
    if any(sign in room for sign in " \r\n\0"):
        raise Reject(f"expected a channel or a nick, found {room!r}")
    for text in (message.text or "").splitlines():
        await ctx.conn.send(f"PRIVMSG {room} :{text}")


if __name__ == "__main__":
    run(plugin)
