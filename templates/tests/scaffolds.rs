//! Promise: every scaffold is whole, small, and what the contract takes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use trunkline_contract::manifest::Manifest;
use trunkline_templates::{File, Group, Lang, RenderError, Template, all, find, render};

/// Most lines of a scaffold's code, all of them counted.
const CODE_LINES_MAX: usize = 40;
/// The longest name that a plugin may have.
const LONG_NAME: &str = "a-plugin-with-a-very-long-name";

/// Calls `check` with each scaffold, in each language, under a short and the longest name.
fn each(check: impl Fn(&str, &str, &Template, Lang, &BTreeMap<String, File>)) {
    for template in all() {
        for &lang in template.langs {
            for name in ["my-bot", LONG_NAME] {
                let what = format!(
                    "{} {} in {}",
                    template.group.as_str(),
                    template.name,
                    lang.as_str()
                );
                let files = render(template, lang, name).unwrap_or_else(|e| panic!("{what}: {e}"));
                check(&what, name, template, lang, &files);
            }
        }
    }
}

fn text<'a>(files: &'a BTreeMap<String, File>, path: &str) -> &'a str {
    let file = files
        .get(path)
        .unwrap_or_else(|| panic!("there is no {path}"));
    std::str::from_utf8(&file.bytes).unwrap()
}

/// Proves X1: there are eight patterns, each in three languages.
#[test]
fn there_are_eight_patterns_in_three_languages() {
    let patterns: Vec<_> = all()
        .iter()
        .filter(|template| template.group == Group::Pattern)
        .collect();
    assert_eq!(patterns.len(), 8);
    assert!(patterns.iter().all(|template| template.langs == Lang::ALL));
    assert_eq!(
        patterns
            .iter()
            .map(|template| template.langs.len())
            .sum::<usize>(),
        24
    );
}

/// Proves X1, the files' part: a scaffold has a manifest, code of at most 40 lines, a test with the test broker, a
/// config, a page, and one command that checks it; and no hole is left in any of them.
#[test]
fn every_scaffold_is_whole_and_small() {
    each(|what, name, template, lang, files| {
        for path in [
            "plugin.toml",
            "trunkline.toml",
            "README.md",
            ".gitignore",
            "check",
        ] {
            assert!(files.contains_key(path), "{what}: {path}");
        }
        for (path, file) in files {
            assert_eq!(file.is_executable, path == "check", "{what}: {path}");
            let text = text(files, path);
            assert!(!text.contains("{{"), "{what}: {path} has a hole");
            assert!(
                text.ends_with('\n') && !text.ends_with("\n\n"),
                "{what}: the end of {path}"
            );
        }
        let code = text(files, &template.code(lang));
        let lines = code.lines().count();
        assert!(lines <= CODE_LINES_MAX, "{what}: {lines} lines");
        assert!(
            code.contains(&format!("\"{name}\"")),
            "{what}: the plugin has its name"
        );
        let test = text(files, &template.test(lang));
        let fixture = match lang {
            Lang::Python => "test_broker",
            Lang::Node | Lang::Rust => "TestBroker::start",
        };
        assert!(
            test.replace('.', "::").contains(fixture),
            "{what}: a test on the test broker"
        );
        assert!(
            text(files, "README.md").starts_with(&format!("# {name}\n")),
            "{what}"
        );
    });
}

#[test]
fn every_manifest_is_one_of_the_contract() {
    each(|what, name, _, lang, files| {
        let parsed = Manifest::parse(text(files, "plugin.toml"));
        let parsed = parsed.unwrap_or_else(|errors| panic!("{what}: {errors:?}"));
        assert!(parsed.warnings.is_empty(), "{what}: {:?}", parsed.warnings);
        let manifest = parsed.value;
        assert_eq!(manifest.id, name, "{what}");
        let program = match lang {
            Lang::Python => "python3",
            Lang::Node => "node",
            Lang::Rust => &format!("./target/release/{name}"),
        };
        assert_eq!(manifest.command[0], program, "{what}");
    });
}

#[test]
fn every_config_names_two_instances_of_it() {
    each(|what, name, _, _, files| {
        let config = text(files, "trunkline.toml");
        let tables = config.matches(&format!("[[plugins.{name}]]\n")).count();
        assert_eq!(tables, 2, "{what}");
        assert_eq!(config.matches("\ninstance = ").count(), 2, "{what}");
    });
}

#[test]
fn what_a_scaffold_needs_is_named_by_version_never_by_path() {
    each(|what, _, _, lang, files| {
        let (path, wanted) = match lang {
            Lang::Python => ("pyproject.toml", "\"trunkline~=0.1.0\""),
            Lang::Node => ("package.json", "\"trunkline\": \"^0.1.0\""),
            Lang::Rust => ("Cargo.toml", "trunkline = \"0.1\""),
        };
        let text = text(files, path);
        assert!(text.contains(wanted), "{what}: {text}");
        assert!(
            !text.contains("file:") && !text.contains("path = \""),
            "{what}: {text}"
        );
    });
}

#[test]
fn a_scaffold_that_is_not_there_is_refused() {
    let email = find(Group::Channel, "email").unwrap();
    let refused = render(email, Lang::Rust, "my-bot");
    let (template, lang) = ("email", "rust");
    assert_eq!(refused, Err(RenderError::Lang { template, lang }));
}
