"""Takes messages by signed HTTP requests, and posts the answers back."""

from trunkline import Context, Event, OutboundMessage, Plugin, WebhookRequest, run

plugin = Plugin("{{name}}")


@plugin.webhook(
    "webhook",
    verify="generic",
    secret="{config.secret}",
    signature={"algorithm": "hmac-sha256", "header": "X-Signature"},
    id="header:X-Request-Id",
    session="/conversation",
)
async def receive(request: WebhookRequest) -> Event:
    body = request.json()
    return Event.inbound(
        {
            "text": body["text"],
            "sender": {"id": body["sender"]},
            "conversation": {"id": body["conversation"]},
        }
    )


@plugin.outbound("webhook", rate="20/s", idempotent=True)
async def send(message: OutboundMessage, ctx: Context) -> None:
    answer = {"conversation": message.conversation.id, "text": message.text}
    there = ctx.http.at("{config.reply_url}")
    await there.post("", json=answer, idempotency_key=ctx.idempotency_key)


if __name__ == "__main__":
    run(plugin)
