//! Who runs which block: read from the runners where they say it themselves.

use std::fs;
use std::path::{Path, PathBuf};

use trunkline_tests::pages::{self, Block};

/// A test that runs all blocks of these languages of a page, or of a folder of pages.
struct Runner {
    source: &'static str,
    /// Stands in the source as long as it does so.
    says: &'static str,
    pages: &'static str,
    languages: &'static [&'static str],
}

const fn runner(
    source: &'static str,
    says: &'static str,
    pages: &'static str,
    languages: &'static [&'static str],
) -> Runner {
    Runner {
        source,
        says,
        pages,
        languages,
    }
}

const RUNNERS: [Runner; 20] = [
    runner(
        "sdk-python/tests/test_docs.py",
        r#"PAGES = sorted((REPOSITORY / "docs" / "patterns").glob("*.md"))"#,
        "docs/patterns/",
        &["python"],
    ),
    runner(
        "sdk-python/tests/test_timers.py",
        r#"guide = repository / "docs" / "timers.md""#,
        "docs/timers.md",
        &["python"],
    ),
    runner(
        "sdk-python/tests/test_http.py",
        r#"(root / "docs" / "http-client.md")"#,
        "docs/http-client.md",
        &["python"],
    ),
    runner(
        "sdk-python/tests/test_typed_clients.py",
        r#"PAGE = ROOT / "docs" / "tools.md""#,
        "docs/tools.md",
        &["python"],
    ),
    runner(
        "sdk-node/test/patterns.test.mjs",
        "const pages = () => readdirSync(PAGES)",
        "docs/patterns/",
        &["ts"],
    ),
    runner(
        "sdk-node/test/connect.test.mjs",
        r#"blocks(PAGE, "js")"#,
        "docs/patterns/connection.md",
        &["js"],
    ),
    runner(
        "sdk-node/test/timers.test.mjs",
        r#""docs", "timers.md")"#,
        "docs/timers.md",
        &["js"],
    ),
    runner(
        "sdk-node/test/http.test.mjs",
        r#""docs", "http-client.md")"#,
        "docs/http-client.md",
        &["ts"],
    ),
    runner(
        "sdk-node/test/typed_clients.test.mjs",
        r#"blocks(join(ROOT, "docs", "tools.md"), "ts")"#,
        "docs/tools.md",
        &["ts"],
    ),
    runner(
        "sdk-rust/tests/payloads.rs",
        r#"include_str!("../../docs/patterns/outbound.md")"#,
        "docs/patterns/outbound.md",
        &["json"],
    ),
    runner(
        "tests/suites/typed_clients.rs",
        "fn the_page_shows_what_is_tested()",
        "docs/tools.md",
        &["rust"],
    ),
    runner(
        "tests/suites/typed_clients.rs",
        "fn the_commands_of_the_page_say_what_stands_there()",
        "docs/tools.md",
        &["console"],
    ),
    runner(
        "tests/suites/a_fleet_keeps_its_distance/document.rs",
        r#"blocks("console")"#,
        "docs/fleets.md",
        &["console"],
    ),
    runner(
        "tests/suites/a_feed_server_is_left_alone.rs",
        r#"pages::of("docs/patterns/poller.md")"#,
        "docs/patterns/poller.md",
        &["console"],
    ),
    runner(
        "tests/suites/a_plugin_serves_its_own_http.rs",
        r#"pages::of("docs/own-server.md")"#,
        "docs/own-server.md",
        &["python", "ts", "rust"],
    ),
    runner(
        "tests/suites/every_block_of_the_pages_is_run/clients.rs",
        r#"pages::of("docs/http.md")"#,
        "docs/http.md",
        &["sh", "json"],
    ),
    runner(
        "tests/suites/every_block_of_the_pages_is_run/clients.rs",
        r#"pages::of("docs/mcp.md")"#,
        "docs/mcp.md",
        &["json"],
    ),
    runner(
        "templates/demo/tests/readme.rs",
        "fn the_first_five_minutes_of_the_readme_work_as_they_are_written()",
        "README.md",
        &["toml"],
    ),
    runner(
        "tests/suites/every_block_of_the_pages_is_run/commands.rs",
        r#"pages::follow("README.md""#,
        "README.md",
        &["console"],
    ),
    runner(
        "tests/suites/every_block_of_the_pages_is_run/settings.rs",
        "fn every_manifest_and_every_config_of_the_pages_is_accepted()",
        "docs/",
        &["toml", "yaml"],
    ),
];

/// What no test runs: the page, how its first line begins, and why.
const NOT_RUN: [(&str, &str, &str); 4] = [
    (
        "README.md",
        "daemon       ready",
        "what the demo printed once; the step `demo` runs it and holds it to the form",
    ),
    (
        "docs/metrics.md",
        "scrape_configs:",
        "Prometheus' own file, and there is no Prometheus",
    ),
    (
        "docs/operations.md",
        "[Unit]",
        "systemd's own file, and a test is no service",
    ),
    (
        "docs/operations.md",
        "instance  state",
        "waits for a person; tests of each SDK hold `status` to it",
    ),
];

impl Runner {
    fn runs(&self, block: &Block) -> bool {
        let is_page = self.pages == block.page;
        let is_below = self.pages.ends_with('/') && block.page.starts_with(self.pages);
        (is_page || is_below) && self.languages.contains(&&*block.language)
    }
}

/// The pages whose Rust code is compiled, and run where it can be, with the documentation of a crate.
fn pages_of_doc_tests() -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for folder in ["sdk-rust/src", "tests/src"] {
        rust_files(&pages::root().join(folder), &mut sources);
    }
    let mut found = Vec::new();
    for source in sources {
        let text = fs::read_to_string(&source).expect("a source");
        for rest in text.split("#[doc = include_str!(\"").skip(1) {
            let (name, _) = rest.split_once('"').expect("the name ends");
            let page = source.parent().expect("a folder").join(name);
            found.push(page.canonicalize().expect("it is compiled, so it is there"));
        }
    }
    found
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// The pages that are done, command by command, with the built packages: `tests/templates/run` names them.
fn pages_of_readers() -> Vec<String> {
    let text = fs::read_to_string(pages::root().join("tests/templates/run")).expect("it is there");
    let mut found = Vec::new();
    for rest in text.split("pages_").skip(1) {
        let Some((_, value)) = rest.split_once('=') else {
            continue;
        };
        let end = if value.starts_with('\'') { '\'' } else { ' ' };
        let value = value.trim_start_matches('\'').split([end, '\n']).next();
        let names = value.unwrap_or_default().split_whitespace();
        found.extend(names.map(|name| format!("docs/{name}.md")));
    }
    found
}

/// Proves: a block that is added to a page, and that nothing runs, is found; and so is a runner that is gone.
#[test]
fn every_block_has_somebody_who_runs_it() {
    let root = pages::root();
    let blocks = pages::all();
    for runner in &RUNNERS {
        let source = fs::read_to_string(root.join(runner.source)).expect("a runner");
        assert!(
            source.contains(runner.says),
            "{} does not say {:?} any more: what runs {}?",
            runner.source,
            runner.says,
            runner.pages
        );
        let has_any = blocks.iter().any(|block| runner.runs(block));
        assert!(
            has_any,
            "{} has nothing to run in {}",
            runner.source, runner.pages
        );
    }
    let compiled = pages_of_doc_tests();
    let followed = pages_of_readers();
    assert!(
        compiled.len() > 5 && followed.len() > 4,
        "{compiled:?} {followed:?}"
    );
    let is_run = |block: &Block| {
        let is_followed = followed.contains(&block.page);
        let path = root.join(&block.page).canonicalize();
        let is_compiled = path.is_ok_and(|path| compiled.contains(&path));
        (is_followed && (block.language == "console" || block.file.is_some()))
            || (is_compiled && block.language == "rust" && !block.tags.contains("ignore"))
            || RUNNERS.iter().any(|runner| runner.runs(block))
    };
    let listed = |block: &Block| {
        let is_it = |(page, begin, _): &&(&str, &str, &str)| {
            *page == block.page && block.text.starts_with(begin)
        };
        NOT_RUN.iter().find(is_it)
    };
    for entry in NOT_RUN {
        let is_there = |block: &&Block| listed(block) == Some(&entry);
        assert_eq!(blocks.iter().filter(is_there).count(), 1, "{entry:?}");
    }
    let unclaimed: Vec<_> = blocks
        .iter()
        .filter(|block| listed(block).is_none() && !is_run(block))
        .map(ToString::to_string)
        .collect();
    assert!(
        unclaimed.is_empty(),
        "nothing runs these blocks:\n{}",
        unclaimed.join("\n")
    );
}
