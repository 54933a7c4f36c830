"""Drafts invoices at Stripe, as a tool."""

from dataclasses import dataclass
from typing import Annotated

from trunkline import Context, Field, Plugin, run

plugin = Plugin("{{name}}")


@dataclass
class Invoice:
    id: str
    status: str


@plugin.tool(timeout="20s", concurrency=8, idempotent=True)
async def create_invoice(
    customer: Annotated[str, "Customer id, cus_…"],
    days_until_due: Annotated[int, Field(min=1, max=90)],
    ctx: Context,
) -> Invoice:
    """Draft an invoice for a customer."""
    stripe = ctx.http.at("{config.api}", bearer="{config.api_key}")
    form = {"customer": customer, "days_until_due": days_until_due}
    made = await stripe.post("/invoices", form=form, idempotency_key=ctx.idempotency_key)
    invoice = made.json()
    return Invoice(invoice["id"], invoice["status"])


if __name__ == "__main__":
    run(plugin)
