//! Tools of types, for clients that are generated from them.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::json;
use trunkline::schemars::{self, JsonSchema};
use trunkline::{Context, Plugin, Result, Tool};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Currency {
    Eur,
    Usd,
}

/// Draft an invoice for a customer.
#[derive(Deserialize, JsonSchema)]
struct NewInvoice {
    /// Customer id, cus_…
    customer: String,
    #[schemars(range(min = 1, max = 90))]
    days_until_due: i64,
    currency: Option<Currency>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Invoice {
    id: String,
    currency: String,
    paid_at: Option<String>,
}

async fn create_invoice(new: NewInvoice) -> Result<Invoice> {
    let currency = match new.currency {
        Some(Currency::Usd) => "usd",
        Some(Currency::Eur) | None => "eur",
    };
    Ok(Invoice {
        id: format!("in_{}_{}", new.customer, new.days_until_due),
        currency: currency.to_owned(),
        paid_at: None,
    })
}

/// Count up to a number.
#[derive(Deserialize, JsonSchema)]
struct Count {
    to: i64,
}

async fn count(count: Count, ctx: Context) -> Result<i64> {
    for n in 1..=count.to {
        ctx.chunk(n).await?;
    }
    Ok(count.to)
}

fn main() -> ExitCode {
    // What a stream gives is its chunks, which no return type tells.
    let counting = Tool::new("count", count)
        .streaming()
        .output_schema(json!({ "type": "integer" }));
    let plugin = Plugin::new("till")
        .version("0.1.0")
        .tool(Tool::new("create_invoice", create_invoice).idempotent())
        .tool(counting);
    trunkline::run(plugin)
}
