from pathlib import Path

import pytest
from invoices import plugin
from trunkline import InvalidArguments
from trunkline.testing import StartBroker

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()
CONFIG = {"api_key": "sk_test_1"}


async def test_a_call_is_an_invoice_at_stripe(test_broker: StartBroker) -> None:
    broker = await test_broker(plugin, manifest=MANIFEST, config=CONFIG)
    route = broker.http("https://api.stripe.com").on("POST", "/v1/invoices")
    route.reply(200, json={"id": "in_1", "status": "draft"})
    arguments = {"customer": "cus_9", "days_until_due": 14}
    made = await broker.call_tool("{{name}}.create_invoice", arguments)
    assert made == {"id": "in_1", "status": "draft"}
    assert route.requests[0].form == {"customer": "cus_9", "days_until_due": "14"}
    assert route.requests[0].headers["authorization"] == "Bearer sk_test_1"
    with pytest.raises(InvalidArguments, match="days_until_due"):
        await broker.call_tool("{{name}}.create_invoice", {**arguments, "days_until_due": 91})
