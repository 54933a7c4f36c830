"""Makes events of the issues that are opened at GitHub."""

from trunkline import Event, Plugin, WebhookRequest, run

plugin = Plugin("{{name}}")


@plugin.webhook("github", verify="github", secret="{config.webhook_secret}")
async def hook(request: WebhookRequest) -> Event | None:
    body = request.json()
    if request.headers["x-github-event"] != "issues" or body["action"] != "opened":
        return None  # nothing to say of it; the 2xx is long out
    issue = body["issue"]
    return Event.inbound(
        {
            "text": issue["title"],
            "sender": {"id": issue["user"]["login"]},
            "conversation": {"id": issue["html_url"]},
        }
    )


if __name__ == "__main__":
    run(plugin)
