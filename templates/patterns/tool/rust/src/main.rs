//! Drafts invoices at Stripe, as a tool.

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::process::ExitCode;
use trunkline::schemars::{self, JsonSchema};
use trunkline::{Context, Plugin, Result, Tool};

/// Draft an invoice for a customer.
#[derive(Deserialize, JsonSchema)]
struct NewInvoice {
    /// Customer id, cus_…
    customer: String,
    #[schemars(range(min = 1, max = 90))]
    days_until_due: i64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Invoice {
    id: String,
    status: String,
}

async fn create_invoice(new: NewInvoice, ctx: Context) -> Result<Invoice> {
    let stripe = ctx.http().at("{config.api}").bearer("{config.api_key}");
    let form = json!({ "customer": new.customer, "days_until_due": new.days_until_due });
    let made = stripe.post("/invoices").form(form).idempotency_key(ctx.idempotency_key());
    Ok(made.await?.json()?)
}
fn plugin() -> Plugin {
    let tool = Tool::new("create_invoice", create_invoice).timeout("20s");
    Plugin::new("{{name}}").tool(tool.concurrency(8).idempotent())
}
fn main() -> ExitCode {
    trunkline::run(plugin())
}
#[cfg(test)]
mod tests;
