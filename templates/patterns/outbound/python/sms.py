"""Sends SMS by Twilio."""

from trunkline import Context, OutboundMessage, Plugin, run

plugin = Plugin("{{name}}")
API = "{config.api}/2010-04-01/Accounts/{config.sid}"


@plugin.outbound("sms", rate="100/s", rate_per_target="1/s", timeout="15s")
async def send(message: OutboundMessage, ctx: Context) -> str:
    twilio = ctx.http.at(API, basic=("{config.sid}", "{config.auth_token}"))
    form = {"To": message.conversation.id, "From": ctx.config["from"], "Body": message.text}
    sent = await twilio.post("/Messages.json", form=form)
    return str(sent.json()["sid"])  # the receipt: sent, with this id


if __name__ == "__main__":
    run(plugin)
