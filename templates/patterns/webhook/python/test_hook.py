from pathlib import Path

from hook import plugin
from trunkline.testing import StartBroker

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()
CONFIG = {"webhook_secret": "s3cret"}
ISSUE = {"title": "It is down", "user": {"login": "ada"}, "html_url": "https://github.com/a/b/issues/1"}


async def test_an_issue_that_is_opened_is_an_event(test_broker: StartBroker) -> None:
    broker = await test_broker(plugin, manifest=MANIFEST, config=CONFIG)
    headers = {"x-github-event": "issues"}
    for action in ("opened", "closed"):
        body = {"action": action, "issue": ISSUE}
        assert (await broker.webhook("github", json=body, headers=headers)).status == 200
    event = await broker.expect_published("plugin.inbound.github.*", {"text": "It is down"})
    assert event.payload["sender"]["id"] == "ada"
    await broker.expect_nothing("plugin.inbound.github.*", within="1m")
