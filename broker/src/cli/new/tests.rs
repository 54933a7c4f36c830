//! What is asked, what is written, and what is left alone.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use clap::Parser;
use trunkline_templates::{Lang, all};

use super::NewArgs;
use super::ask::{Ask, Questions};
use super::command::{Choice, check_name, choose, write};
use super::record::{RECORD, Record};
use crate::cli::failure::Failure;
use crate::config::{DiskFiles, Sources, load};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    new: NewArgs,
}

fn args(line: &str) -> NewArgs {
    Line::parse_from(["new"].into_iter().chain(line.split_whitespace())).new
}

fn chosen(line: &str) -> Result<(String, &'static str, &'static str), Failure> {
    let choice = choose(&args(line), None)?;
    Ok((choice.name, choice.template.name, choice.lang.as_str()))
}

fn asked(line: &str, answers: &str) -> Result<Choice, Failure> {
    let mut said = Vec::new();
    let mut questions = Questions::new(Cursor::new(answers.to_owned()), &mut said);
    choose(&args(line), Some(&mut questions as &mut dyn Ask))
}

fn refused(line: &str) -> String {
    chosen(line).expect_err(line).to_string()
}

fn made(line: &str, dir: &Path) -> Result<(), Failure> {
    write(&choose(&args(line), None)?, dir).map(|_| ())
}

#[test]
fn flags_are_enough_and_yes_takes_the_defaults() {
    let found = |line| chosen(line).unwrap();
    let hello = |template, lang| ("hello".to_owned(), template, lang);
    assert_eq!(found("hello --yes"), hello("echo", "python"));
    assert_eq!(
        found("--name hello --pattern tool --lang ts"),
        hello("tool", "node")
    );
    assert_eq!(found("hello --yes --lang rust"), hello("echo", "rust"));
}

/// Proves LN50: without a terminal nothing is asked: what is missing is said, with what there is.
#[test]
fn what_is_missing_is_said_with_what_there_is() {
    let text = refused("");
    assert!(
        text.starts_with("error: missing: expected a name and --pattern or --channel and --lang")
    );
    let text = refused("hello --pattern echo");
    assert!(
        text.starts_with("error: missing: expected --lang;"),
        "{text}"
    );
    for there_is in ["echo, webhook, tool", "python, node, rust", "--yes"] {
        assert!(text.contains(there_is), "{text}");
    }
}

#[test]
fn what_there_is_not_is_refused_with_what_there_is() {
    let text = refused("hello --pattern rpc --lang python");
    assert!(
        text.starts_with("error: unknown_pattern: expected a pattern, found \"rpc\""),
        "{text}"
    );
    assert!(text.contains("multi-instance"), "{text}");
    let text = refused("hello --channel matrix");
    assert!(text.starts_with("error: unknown_channel: "), "{text}");
    assert!(refused("hello --channel echo").contains("it is a pattern: --pattern echo"));
    let text = refused("hello --pattern echo --lang cobol");
    assert!(text.starts_with("error: unknown_lang: "), "{text}");
    assert!(text.contains("python, node, rust"), "{text}");
}

#[test]
fn a_name_is_a_plugins_id_and_a_packages() {
    for name in ["hello", "my-bot", "a1_b"] {
        check_name(name).unwrap();
    }
    for name in [
        "",
        "Hello",
        "9gag",
        "../x",
        "a b",
        "a__b",
        "a_",
        "a-",
        "reply",
        "trunkline",
        "test",
        "serde",
    ] {
        let text = check_name(name).expect_err(name).to_string();
        assert!(text.starts_with("error: invalid_name: "), "{text}");
    }
}

#[test]
fn on_a_terminal_is_asked_what_was_not_given() {
    let choice = asked("", "Bad Name\nhello\n2\nruby\nnode\n").unwrap();
    assert_eq!(
        (choice.name.as_str(), choice.template.name, choice.lang),
        ("hello", "webhook", Lang::Node)
    );
    // The empty answer is the one in brackets; and what was given is not asked for.
    let choice = asked("hello --lang rust", "\n").unwrap();
    assert_eq!((choice.template.name, choice.lang), ("echo", Lang::Rust));
    assert!(
        asked("hello", "echo").is_err(),
        "the input ends before the last answer"
    );
}

/// Proves LN50: what was written is recorded: the version, the answers, and the hash of each file.
#[test]
fn what_was_written_is_recorded() {
    let home = tempfile::tempdir().unwrap();
    made("hello --yes", home.path()).unwrap();
    let record = Record::read(&fs::read(home.path().join(RECORD)).unwrap()).unwrap();
    assert_eq!(record.template_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(record.answers.name, "hello");
    assert_eq!(record.answers.pattern.as_deref(), Some("echo"));
    let mut found = 0;
    for path in record.files.keys() {
        let bytes = fs::read(home.path().join(path)).unwrap();
        assert!(record.owns(path, &bytes), "{path}");
        assert!(!record.owns(path, b"something else"), "{path}");
        found += 1;
    }
    assert_eq!(
        fs::read_dir(home.path()).unwrap().count(),
        found + 1,
        "and nothing else"
    );
}

/// Proves LN50: what is somebody's is never written over, and all of it is named.
#[test]
fn what_is_somebodys_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::create_dir(dir.join(".git")).unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    fs::write(dir.join("plugin.toml"), "mine").unwrap();
    let text = made("hello --yes", dir).unwrap_err().to_string();
    assert!(text.starts_with("error: in_the_way: "), "{text}");
    assert!(text.contains("found notes.txt, plugin.toml"), "{text}");
    assert_eq!(fs::read(dir.join("plugin.toml")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(dir).unwrap().count(), 3, "nothing was written");
    fs::remove_file(dir.join("notes.txt")).unwrap();
    fs::remove_file(dir.join("plugin.toml")).unwrap();
    made("hello --yes", dir).unwrap();
}

#[test]
fn what_an_earlier_new_left_is_written_over_while_it_is_unchanged() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    made("hello --yes", dir).unwrap();
    // What came since is not in the way of a scaffold that is there already.
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    made("other --yes", dir).unwrap();
    assert!(
        fs::read_to_string(dir.join("plugin.toml"))
            .unwrap()
            .contains("\"other\"")
    );
    let choice = choose(&args("other --yes --lang node"), None).unwrap();
    let written = write(&choice, dir).unwrap();
    assert_eq!(
        written.removed,
        ["echo.py", "pyproject.toml", "test_echo.py"]
    );
    assert!(!dir.join("echo.py").exists() && dir.join("src/echo.ts").exists());
    fs::write(dir.join("src/echo.ts"), "// mine").unwrap();
    // Another pattern has no such file: nothing of the one that is worked with is removed either.
    let before = fs::read(dir.join("plugin.toml")).unwrap();
    let text = made("other --pattern webhook --lang node", dir)
        .unwrap_err()
        .to_string();
    assert!(text.contains("found src/echo.ts"), "{text}");
    assert_eq!(fs::read(dir.join("plugin.toml")).unwrap(), before);
    assert!(dir.join("src/echo.test.ts").exists() && !dir.join("src/hook.ts").exists());
    let text = made("third --yes --lang node", dir)
        .unwrap_err()
        .to_string();
    assert!(text.contains("found src/echo.ts"), "{text}");
    assert!(
        fs::read_to_string(dir.join("plugin.toml"))
            .unwrap()
            .contains("\"other\"")
    );
}

#[test]
fn links_out_of_the_directory_are_not_followed() {
    let home = tempfile::tempdir().unwrap();
    let (dir, elsewhere) = (home.path().join("hello"), home.path().join("elsewhere"));
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, dir.join("src")).unwrap();
    let text = made("hello --yes --lang rust", &dir)
        .unwrap_err()
        .to_string();
    assert!(text.contains("found src"), "{text}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    // Nor is a record believed that names what lies elsewhere.
    let record =
        r#"{"template_version":"1","answers":{"name":"x","lang":"y"},"files":{"../x":"z"}}"#;
    assert!(Record::read(record.as_bytes()).is_none());
}

/// Proves X1, the files' part: each scaffold's config is one that the daemon takes, with two instances.
#[test]
fn the_config_of_each_scaffold_is_taken() {
    for template in all() {
        for &lang in template.langs {
            let home = tempfile::tempdir().unwrap();
            let name = "hello".to_owned();
            write(
                &Choice {
                    name,
                    template,
                    lang,
                },
                home.path(),
            )
            .unwrap();
            let file = home.path().join("trunkline.toml");
            let text = fs::read_to_string(&file).unwrap();
            let secrets = text.lines().filter_map(|line| line.split_once("_env = \""));
            let env = secrets.enumerate().map(|(number, (_, rest))| {
                (
                    rest.trim_end_matches('"').to_owned(),
                    format!("secret-{number}"),
                )
            });
            let env = env.collect();
            let loaded = load(
                &Sources {
                    file,
                    env,
                    flags: Vec::new(),
                },
                &DiskFiles,
            );
            let what = format!("{} in {}", template.name, lang.as_str());
            let (config, warnings) = loaded
                .into_result()
                .unwrap_or_else(|errors| panic!("{what}: {errors:?}"));
            assert_eq!(config.instances.len(), 2, "{what}");
            assert!(warnings.is_empty(), "{what}: {warnings:?}");
        }
    }
}
