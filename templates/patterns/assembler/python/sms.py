"""Puts together the parts of a long SMS."""

from trunkline import Context, Event, Part, Plugin, WebhookRequest, run

plugin = Plugin("{{name}}")
SECRET = "{config.webhook_secret}"


@plugin.webhook("sms", verify="standard", secret=SECRET, session="/from")
async def part(request: WebhookRequest) -> Part:
    sms = request.json()
    place = {"session": sms["from"], "group": sms["ref"]}
    return Part(sms["text"], **place, seq=sms["part"], total=sms["parts"])


@plugin.assemble("sms", silence="30s", max_age="10m", max_parts=64)
async def whole(parts: list[Part], ctx: Context) -> Event:
    gap = "…" if ctx.assembly and ctx.assembly.missing else ""
    text = gap.join(part.data for part in parts)
    return Event.inbound({"text": text, "conversation": {"id": parts[0].session, "kind": "sms"}})


if __name__ == "__main__":
    run(plugin)
