//! "Typed clients from one contract": what a real daemon lists is a client in Rust that compiles, is formatted and
//! linted as every file here, and calls. Python and TypeScript are held to the same beside their SDKs.

#![expect(
    clippy::disallowed_methods,
    reason = "the command is run as its users run it"
)]

#[path = "typed_clients/till.rs"]
mod till;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use till::{CountArguments, CreateInvoiceArguments, CreateInvoiceCurrency, Till};
use trunkline::{Client, Code, ToolStep};
use trunkline_tests::daemon::{Daemon, Setup};
use trunkline_tests::mcp::wait_ready;
use trunkline_tests::pages;
use trunkline_tests::sdk::Language;
use trunkline_tests::supervised;

/// The client that is compiled here.
const CLIENT: &str = "suites/typed_clients/till.rs";

struct Rig {
    // Ended before its directory is removed.
    _daemon: Daemon,
    setup: Setup,
    home: tempfile::TempDir,
}

impl Rig {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let command = Language::Rust.subject("till", home.path());
        let config = supervised::install(home.path(), "till", &command, &[]);
        // As the page names it.
        let config = config.replace("\"main\"", "\"default\"");
        let setup = Setup::new(home.path(), &home.path().join("data"), &config);
        let daemon = setup.start().expect("the daemon starts");
        wait_ready(&setup, &["till"]);
        Self {
            _daemon: daemon,
            setup,
            home,
        }
    }

    fn tools(&self, arguments: &[&str]) -> Output {
        Command::new(&self.setup.program)
            .arg("tools")
            .args(arguments)
            .current_dir(self.home.path())
            .output()
            .expect("the command runs")
    }
}

/// Says that it ended with this status, and gives what it wrote.
fn ended(output: &Output, status: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Proves LN53: the client that is committed, compiled and called below is what the daemon's tools give, from the daemon
/// and from its list alike; `--check` says when it is another, and what was not generated is not touched.
#[test]
fn a_client_is_what_the_daemon_lists() {
    let rig = Rig::start();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(CLIENT);
    let file = rig.home.path().join("till.rs");
    let path = file.to_str().expect("plain names");
    let client = ["client", "--lang", "rust", "till", "--output", path];
    ended(&rig.tools(&client), 0);
    let text = fs::read_to_string(&file).expect("it was written");
    if std::env::var_os("TRUNKLINE_BLESS").is_some() {
        fs::write(&committed, &text).expect("it can be written");
    }
    assert_eq!(text, fs::read_to_string(&committed).expect("it is there"));

    let list = ended(&rig.tools(&["list", "--json"]), 0);
    let saved = rig.home.path().join("tools.json");
    fs::write(&saved, list).expect("the directory can be written");
    let from = ["--from", saved.to_str().expect("plain names"), "--check"];
    ended(&rig.tools(&[&client[..], &from].concat()), 0);
    fs::write(&file, text.replace("customer", "client")).expect("it can be written");
    ended(&rig.tools(&[&client[..], &["--check"]].concat()), 1);
    ended(&rig.tools(&client), 0);
    assert_eq!(fs::read_to_string(&file).expect("it is there"), text);

    fs::write(&file, "mine\n").expect("it can be written");
    let refused = rig.tools(&client);
    ended(&refused, 1);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.starts_with("error: in_the_way: "), "{said}");
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "mine\n");

    let table = ended(&rig.tools(&["list", "till"]), 0);
    assert!(
        table.contains("till.create_invoice  tool  available"),
        "{table}"
    );
    ended(&rig.tools(&["list", "nobody"]), 1);
}

// What the page shows.
async fn invoice(client: &Client) -> trunkline::Result<String> {
    let till = Till::new(client);
    let new = CreateInvoiceArguments {
        customer: "cus_9".to_owned(),
        days_until_due: 30,
        currency: Some(CreateInvoiceCurrency::Usd),
    };
    let invoice = till.create_invoice(new).timeout("20s").await?;
    Ok(invoice.id)
}

/// Proves LN53: a typed client in Rust calls the tools of a plugin through a real daemon; what the broker refuses is
/// the error that an untyped call gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_in_rust_calls_through_a_real_daemon() {
    let rig = Rig::start();
    let client = Client::new("caller")
        .socket(rig.setup.socket())
        .token(rig.setup.token());
    let client = client.connect().await.expect("connected");
    assert_eq!(invoice(&client).await.expect("an invoice"), "in_cus_9_30");

    let till = Till::new(client);
    let late = CreateInvoiceArguments {
        customer: "cus_9".to_owned(),
        days_until_due: 91,
        ..CreateInvoiceArguments::default()
    };
    let refused = till.create_invoice(late).await.expect_err("it is too late");
    assert_eq!(refused.code, Code::InvalidArguments);
    let mut call = till.count(CountArguments { to: 3 });
    let first = call.next().await;
    assert!(matches!(first, Some(ToolStep::Chunk(_))), "{first:?}");
    let whole = till.count(CountArguments { to: 3 }).await;
    assert_eq!(whole.expect("numbers"), [1, 2, 3]);
}

/// Proves LN53: what the page shows in Rust is what is called here.
#[test]
fn the_page_shows_what_is_tested() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tools.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let (_, rest) = page
        .split_once("```rust,ignore\n")
        .expect("the page has it");
    let (shown, _) = rest.split_once("```").expect("the block ends");
    let source = include_str!("typed_clients.rs");
    let function = shown.split_once("async fn").expect("it has a function").1;
    assert!(source.contains(function.trim_end()), "{shown}");
}

/// Proves LN53: the commands of the page, on the tools that it is about, say what stands below them.
#[test]
fn the_commands_of_the_page_say_what_stands_there() {
    let rig = Rig::start();
    pages::follow("docs/tools.md", rig.home.path(), &[]);
}
