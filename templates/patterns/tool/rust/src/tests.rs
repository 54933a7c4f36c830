use serde_json::{Value, json};
use trunkline::testing::TestBroker;

const MANIFEST: &str = include_str!("../plugin.toml");

#[tokio::test]
async fn a_call_is_an_invoice_at_stripe() {
    let start = TestBroker::start(super::plugin()).manifest(MANIFEST);
    let broker = start.config(json!({ "api_key": "sk_test_1" })).await;
    let route = broker.http("https://api.stripe.com").on("POST", "/v1/invoices");
    let route = route.reply(200).json(json!({ "id": "in_1", "status": "draft" }));
    let call = |days| {
        let arguments = json!({ "customer": "cus_9", "days_until_due": days });
        broker.call_tool::<Value>("{{name}}.create_invoice", arguments)
    };
    let made = call(14).await.expect("an invoice");
    assert_eq!(made, json!({ "id": "in_1", "status": "draft" }));
    let seen = &route.requests()[0];
    assert_eq!(seen.form()["days_until_due"], "14");
    assert_eq!(seen.headers["authorization"], "Bearer sk_test_1");
    let refused = call(91).await.expect_err("more days than there may be");
    assert_eq!(refused.code.as_str(), "invalid_arguments");
}
