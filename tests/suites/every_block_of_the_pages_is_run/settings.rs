//! Every manifest and every config that a page shows is read by the reader of the daemon, which finds nothing wrong in it.
//!
//! A page shows what it is about: the least that makes it whole is laid around it here, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use toml_edit::{DocumentMut, Item, Table};
use trunkline_broker::config::{DiskFiles, Sources, load};
use trunkline_tests::pages::{self, Block};

/// Tables that only an operator's file has.
const OF_A_CONFIG: [&str; 7] = [
    "plugins",
    "plugin_defaults",
    "plugin_dirs",
    "broker",
    "clients",
    "grants",
    "mcp",
];

/// Manifests of plugins that a page configures without showing them.
const MANIFESTS: [(&str, &str, &str); 2] = [
    (
        "docs/config.md",
        "telegram",
        r#"
        [plugin]
        id = "telegram"
        version = "0.1.0"
        command = ["python3", "telegram.py"]
        [capabilities]
        publish = ["agent.notes.>", "agent.sales.>"]
        [config]
        poll = { type = "string" }
        proxy = { type = "object", fields = { host = { type = "string" }, port = { type = "integer" } } }
        bot_token = { type = "string", secret = true, required = true, unique = true }
        "#,
    ),
    (
        "docs/own-server.md",
        "board",
        r#"
        [plugin]
        id = "board"
        version = "0.1.0"
        command = ["python3", "board.py"]
        [capabilities]
        http_server = true
        "#,
    ),
];

/// Whether the block is read by us: Prometheus' own config is not.
fn is_ours(block: &Block) -> bool {
    let is_read = matches!(&*block.language, "toml" | "yaml");
    is_read && !block.text.starts_with("scrape_configs:")
}

/// Proves: what a page says of a manifest or a config is so, word for word.
#[test]
fn every_manifest_and_every_config_of_the_pages_is_accepted() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for block in pages::all().iter().filter(|block| is_ours(block)) {
        count += 1;
        let found = findings(block);
        if !found.is_empty() {
            wrong.push(format!("{block}\n  {}", found.join("\n  ")));
        }
    }
    assert!(count > 20, "{count} blocks");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the reader says of it.
fn findings(block: &Block) -> Vec<String> {
    let home = tempfile::tempdir().expect("a directory");
    let (name, config) = if is_manifest(block) {
        ("trunkline.toml", whole_manifest(&block.text, home.path()))
    } else {
        for (id, manifest) in manifests(&block.page) {
            write(home.path(), &format!("plugins/{id}/plugin.toml"), &manifest);
        }
        if block.language == "yaml" {
            ("trunkline.yaml", block.text.clone())
        } else {
            ("trunkline.toml", whole_config(&block.text))
        }
    };
    write(home.path(), name, &config);
    for file in between(&config, "file = \"", '"') {
        write(home.path(), file, "secret-of-the-page-0123456789");
    }
    let named = between(&config, "_env = \"", '"').chain(between(&config, "{ env = \"", '"'));
    let of_yaml = config.lines().filter_map(|line| line.split_once("_env: "));
    let variables = named.chain(of_yaml.map(|(_, name)| name));
    let sources = Sources {
        file: home.path().join(name),
        env: variables
            .map(|name| (name.to_owned(), format!("secret-of-{name}")))
            .collect(),
        flags: Vec::new(),
    };
    let loaded = load(&sources, &DiskFiles);
    // A page grants to some instances what a plugin asks for in all of them: that is warned of, and right.
    let found = loaded
        .diagnostics
        .iter()
        .filter(|found| found.code != "not_granted");
    found.map(ToString::to_string).collect()
}

fn is_manifest(block: &Block) -> bool {
    if block.language == "yaml" {
        return false;
    }
    let table = parse(&block.text);
    !OF_A_CONFIG.iter().any(|key| table.contains_key(key))
}

fn parse(text: &str) -> DocumentMut {
    text.parse().unwrap_or_else(|error| panic!("{error}{text}"))
}

/// The manifests that a config of this page is about, by id.
fn manifests(page: &str) -> BTreeMap<String, String> {
    let known = MANIFESTS.iter().filter(|(of, ..)| *of == page);
    let mut found: BTreeMap<_, _> = known
        .map(|(_, id, text)| ((*id).to_owned(), (*text).to_owned()))
        .collect();
    for block in pages::of(page) {
        if block.language == "toml" && is_manifest(&block) {
            let id = parse(&block.text).get("plugin").and_then(|plugin| {
                let id = plugin.get("id")?.as_str()?;
                Some(id.to_owned())
            });
            found.extend(id.map(|id| (id, block.text)));
        }
    }
    found
}

/// Runs what a config only grants something to.
fn whole_config(shown: &str) -> String {
    let table = parse(shown);
    let runs = |id: &str| {
        let plugins = table.get("plugins").and_then(Item::as_table_like);
        plugins.is_some_and(|plugins| plugins.contains_key(id))
    };
    let granted = table.get("grants").and_then(Item::as_table);
    let granted = granted.into_iter().flat_map(Table::iter);
    let mut whole = shown.to_owned();
    for (id, _) in granted.filter(|(id, _)| !runs(id)) {
        whole.push_str(&format!("\n[[plugins.{id}]]\n"));
    }
    whole
}

/// Writes a manifest around what is shown, and gives a config that runs it with all that it asks for.
fn whole_manifest(shown: &str, home: &Path) -> String {
    let table = parse(shown);
    let mut manifest = String::new();
    let id = table.get("plugin").and_then(|plugin| plugin.get("id"));
    let id = id.and_then(Item::as_str).unwrap_or("page");
    if !table.contains_key("plugin") {
        manifest.push_str(
            "plugin = { id = \"page\", version = \"0.1.0\", command = [\"python3\", \"page.py\"] }\n",
        );
    }
    manifest.push_str(shown);
    let kinds = |section| {
        let tables = table.get(section).and_then(Item::as_array_of_tables);
        tables
            .into_iter()
            .flatten()
            .filter_map(|each| each.get("kind")?.as_str())
            .collect::<BTreeSet<_>>()
    };
    let used = &kinds("webhooks") | &kinds("pollers");
    for kind in used.difference(&kinds("channels")) {
        manifest.push_str(&format!("\n[[channels]]\nkind = {kind:?}\n"));
    }
    let declared = table.get("config").and_then(Item::as_table);
    let used: BTreeSet<_> = between(shown, "{config.", '}').collect();
    for key in used {
        if !declared.is_some_and(|declared| declared.contains_key(key)) {
            manifest.push_str(&format!(
                "\n[config.{key}]\ntype = \"string\"\nsecret = true\n"
            ));
        }
    }
    if table.contains_key("http") && !table.contains_key("capabilities") {
        manifest.push_str("\n[capabilities]\nhttp_server = true\n");
    }
    write(home, &format!("plugins/{id}/plugin.toml"), &manifest);

    let mut config = format!("[[plugins.{id}]]\n");
    for (key, spec) in declared.into_iter().flat_map(Table::iter) {
        if spec.get("required").and_then(Item::as_bool) == Some(true) && spec.get("when").is_none()
        {
            let is_secret = spec.get("secret").and_then(Item::as_bool) == Some(true);
            let key = if is_secret {
                format!("{key}_env")
            } else {
                key.to_owned()
            };
            config.push_str(&format!("{key} = \"VALUE_OF_THE_PAGE\"\n"));
        }
    }
    if let Some(asked) = table.get("capabilities").and_then(Item::as_table) {
        config.push_str(&format!("\n[grants.{id}]\n{}", asked.clone()));
    } else if table.contains_key("http") {
        config.push_str(&format!("\n[grants.{id}]\nhttp_server = true\n"));
    }
    config
}

fn write(home: &Path, name: &str, text: &str) {
    let path = home.join(name);
    fs::create_dir_all(path.parent().expect("it is below the home")).expect("a directory");
    fs::write(&path, text).expect("it can be written");
    // What holds a secret is its owner's alone.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}

/// Gives what stands between `open` and `close`, each time.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| rest.split_once(close).map(|(inside, _)| inside))
}
