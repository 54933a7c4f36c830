//! Runs benchmarks: `bench store [directory]`. A table goes to stderr, JSON to stdout.

use std::path::PathBuf;

use anyhow::bail;
use trunkline_tests::bench::store;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("store") => {
            let dir = arguments
                .next()
                .map_or_else(std::env::temp_dir, PathBuf::from);
            let report = store::run(&dir, store::Plan::default())?;
            eprint!("{report}");
            println!("{}", serde_json::to_string(&report)?);
            Ok(())
        }
        other => bail!("expected a benchmark (store), found {other:?}"),
    }
}
