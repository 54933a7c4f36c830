//! `docs/fleets.md` says what is so: its files are a fleet, its commands are run on it.

use std::fs;
use std::process::Command;

use trunkline_tests::daemon::{Setup, built};

use crate::network::Network;

const PAGE: &str = include_str!("../../../docs/fleets.md");
const TOKEN: (&str, &str) = ("CHAT_SUPPORT_TOKEN", "secret-of-support");

/// The blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("```{language}\n");
    let pieces = PAGE.split(&begin).skip(1);
    pieces
        .map(|piece| piece.split("```").next().unwrap())
        .collect()
}

/// Proves: the manifest and the config of the page are valid, the accounts in it become ready, and its commands say what
/// stands there.
#[test]
fn the_page_on_fleets_shows_what_works() {
    let home = tempfile::tempdir().unwrap();
    let names = ["support", "sales"].map(str::to_owned);
    let network = Network::start(home.path(), &names);
    let [manifest, config] = blocks("toml")[..] else {
        panic!("expected a manifest and a config");
    };
    let program = built("fleet_plugin", "cargo build -p trunkline-tests --bins");
    let command = format!("[{:?}, \"chat\"]", program.display().to_string());
    let manifest = manifest.replace("[\"python3\", \"chat.py\"]", &command);
    let config = config.replace("chat.example.com:6667", &network.address);
    for (name, text) in [
        ("plugins/chat/plugin.toml", &*manifest),
        ("secrets/sales", "secret-of-sales"),
    ] {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut setup = Setup::new(home.path(), &home.path().join("data"), &config);
    setup.variables = vec![(TOKEN.0.to_owned(), TOKEN.1.to_owned())];
    let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    network.until("both accounts are logged in", |known| {
        known.accounts.values().all(|one| one.logins > 0)
    });
    let mut count = 0;
    for block in blocks("console") {
        for shown in block.split("$ trunkline ").skip(1) {
            let (line, expected) = shown.split_once('\n').unwrap();
            let mut command = Command::new(&setup.program);
            command
                .args(line.split(' '))
                .env(TOKEN.0, TOKEN.1)
                .current_dir(home.path());
            let ran = command.output().unwrap();
            assert!(ran.status.success(), "{line}: {ran:?}");
            let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
            for expected in expected.lines() {
                assert!(
                    said.contains(expected),
                    "{line}: expected {expected:?} in {said}"
                );
            }
            count += 1;
        }
    }
    assert!(count > 5, "{count} commands");
    daemon.kill();
}
