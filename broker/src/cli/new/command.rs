//! The command: what is asked for, and what is said of it.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use trunkline_contract::id::is_plugin_id;
use trunkline_templates::{Group, Lang, Template, VERSION, all, find, render};

use super::ask::Questions;
use super::place::{Place, Written};
use super::record::{Answers, Record};
use crate::cli::failure::{EXIT_USAGE, Failure};
use crate::cli::output::{self, OutputArgs};

/// The pattern that `--yes` takes.
const DEFAULT_PATTERN: &str = "echo";
/// Names that the package of a scaffold cannot have: it depends on some, and Rust keeps the others.
const TAKEN_NAMES: [&str; 18] = [
    "alloc",
    "async",
    "core",
    "crate",
    "dyn",
    "extern",
    "match",
    "proc-macro",
    "self",
    "serde",
    "serde_json",
    "std",
    "super",
    "test",
    "tokio",
    "trunkline",
    "type",
    "zod",
];

/// What is to be written.
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct NewArgs {
    /// The plugin's id, and the directory it is written to.
    #[arg(value_name = "NAME", conflicts_with = "named")]
    name: Option<String>,
    /// The same, as a flag.
    #[arg(long = "name", value_name = "NAME", id = "named")]
    named: Option<String>,
    /// The shape of the plugin.
    #[arg(long, value_name = "PATTERN", conflicts_with = "channel")]
    pattern: Option<String>,
    /// The network it connects, instead of a pattern.
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// The language.
    #[arg(long, value_name = "LANG")]
    lang: Option<String>,
    /// Shows what there is: group, name and languages of each.
    #[arg(long, conflicts_with_all = ["name", "named", "pattern", "channel", "lang", "dir"])]
    list: bool,
    /// Asks nothing: what is not given is echo, in Python.
    #[arg(long, short)]
    yes: bool,
    /// The directory, where it is not called as the plugin.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What was chosen.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) template: &'static Template,
    pub(super) lang: Lang,
}

/// Writes a plugin, and says what comes next.
pub(crate) fn run(args: &NewArgs) -> Result<ExitCode, Failure> {
    if args.list {
        return show(args.output).map(|()| ExitCode::SUCCESS);
    }
    let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    let choice = if is_terminal && !args.yes {
        choose(
            args,
            Some(&mut Questions::new(io::stdin().lock(), io::stderr())),
        )?
    } else {
        choose(args, None)?
    };
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(&choice.name));
    let written = write(&choice, &dir)?;
    let next = next_of(&choice, &dir);
    if args.output.json {
        output::json(&json!({
            "name": choice.name,
            "dir": dir,
            choice.template.group.as_str(): choice.template.name,
            "lang": choice.lang.as_str(),
            "template_version": VERSION,
            "files": written.files,
            "removed": written.removed,
            "next": next,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown = dir.display().to_string();
    output::data(&format!(
        "created {}/: {}",
        shown.trim_end_matches('/'),
        written.files.join(" ")
    ))?;
    if !written.removed.is_empty() {
        output::data(&format!("removed: {}", written.removed.join(" ")))?;
    }
    output::data(&format!("next:\n  {}", next.join("\n  ")))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows what there is.
fn show(output: OutputArgs) -> Result<(), Failure> {
    for template in all() {
        let (group, name) = (template.group.as_str(), template.name);
        let langs: Vec<_> = template.langs.iter().map(|lang| lang.as_str()).collect();
        if output.json {
            output::json(
                &json!({ "group": group, "name": name, "langs": langs, "about": template.about }),
            )?;
        } else {
            output::data(&format!("{group:<7} {name:<14} {}", langs.join(" ")))?;
        }
    }
    Ok(())
}

/// Finds out what is wanted; without questions what is not given is missing, or as `--yes` says.
pub(super) fn choose(
    args: &NewArgs,
    questions: Option<&mut dyn super::ask::Ask>,
) -> Result<Choice, Failure> {
    // What was given is checked before anything is asked.
    let mut name = args.name.clone().or_else(|| args.named.clone());
    if let Some(name) = &name {
        check_name(name)?;
    }
    let mut template = match (&args.pattern, &args.channel) {
        (Some(pattern), _) => Some(template_of(Group::Pattern, pattern)?),
        (None, Some(channel)) => Some(template_of(Group::Channel, channel)?),
        (None, None) => None,
    };
    let mut lang = args.lang.as_deref().map(lang_of).transpose()?;
    if let Some(questions) = questions {
        if name.is_none() {
            name = Some(questions.name(&|name| check_name(name))?);
        }
        if template.is_none() {
            template = Some(questions.template(lang)?);
        }
        if let (None, Some(template)) = (lang, template) {
            lang = Some(match template.langs {
                [only] => *only,
                langs => questions.lang(langs)?,
            });
        }
    }
    if args.yes && template.is_none() {
        template = find(Group::Pattern, DEFAULT_PATTERN);
    }
    let default = template.map(|template| template.langs);
    if let (None, Some([first, others @ ..])) = (lang, default)
        && (args.yes || others.is_empty())
    {
        lang = Some(*first);
    }
    let (Some(name), Some(template), Some(lang)) = (&name, template, lang) else {
        let missing = [
            (name.is_none(), "a name"),
            (template.is_none(), "--pattern or --channel"),
            (lang.is_none(), "--lang"),
        ];
        let missing: Vec<_> = missing
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, what)| *what)
            .collect();
        return Err(missing_answers(&missing));
    };
    if !template.langs.contains(&lang) {
        let (name, found) = (template.name, lang.as_str());
        let text = format!("expected a language that {name} is written in, found {found}");
        let langs = template.langs.iter().map(|lang| lang.as_str());
        return Err(Failure::new("unknown_lang", EXIT_USAGE, text).hint(list(langs)));
    }
    let name = name.clone();
    Ok(Choice {
        name,
        template,
        lang,
    })
}

fn missing_answers(missing: &[&str]) -> Failure {
    let text = format!(
        "expected {}; nothing can be asked without a terminal, or with --yes",
        missing.join(" and ")
    );
    let hint = format!(
        "patterns: {}\n      channels: {}\n      languages: {}\n      --yes takes {DEFAULT_PATTERN} and python where \
         nothing else is said: trunkline new hello --yes",
        list(names(Group::Pattern)),
        list(names(Group::Channel)),
        list(Lang::ALL.iter().map(|lang| lang.as_str())),
    );
    Failure::new("missing", EXIT_USAGE, text).hint(hint)
}

/// Refuses what is no plugin's id, or no name of a package.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let refuse =
        |text: String, hint: &str| Err(Failure::new("invalid_name", EXIT_USAGE, text).hint(hint));
    if !is_plugin_id(name) {
        return refuse(
            format!("expected the id of a plugin, found {name:?}"),
            "1 to 30 of a-z, 0-9, - and _, a letter first, no __ inside and no _ at the end: my-bot",
        );
    }
    if TAKEN_NAMES.contains(&name) || name.ends_with('-') {
        return refuse(
            format!("expected a name that a package can have, found {name:?}"),
            "my-bot",
        );
    }
    Ok(())
}

fn template_of(group: Group, name: &str) -> Result<&'static Template, Failure> {
    let (code, other) = match group {
        Group::Pattern => ("unknown_pattern", Group::Channel),
        Group::Channel => ("unknown_channel", Group::Pattern),
    };
    find(group, name).ok_or_else(|| {
        let text = format!("expected a {}, found {name:?}", group.as_str());
        let hint = match find(other, name) {
            Some(_) => format!("it is a {0}: --{0} {name}", other.as_str()),
            None => list(names(group)),
        };
        Failure::new(code, EXIT_USAGE, text).hint(hint)
    })
}

fn lang_of(text: &str) -> Result<Lang, Failure> {
    Lang::parse(text).ok_or_else(|| {
        let text = format!("expected a language, found {text:?}");
        let langs = Lang::ALL.iter().map(|lang| lang.as_str());
        Failure::new("unknown_lang", EXIT_USAGE, text).hint(list(langs))
    })
}

fn names(group: Group) -> impl Iterator<Item = &'static str> {
    all()
        .iter()
        .filter(move |template| template.group == group)
        .map(|template| template.name)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Writes what was chosen into a directory.
pub(super) fn write(choice: &Choice, dir: &Path) -> Result<Written, Failure> {
    let files = render(choice.template, choice.lang, &choice.name)
        .map_err(|error| Failure::new("internal", 70, error.to_string()))?;
    let place = Place::look(dir, &files)?;
    let of = |group| (choice.template.group == group).then(|| choice.template.name.to_owned());
    let record = Record::new(
        Answers {
            name: choice.name.clone(),
            pattern: of(Group::Pattern),
            channel: of(Group::Channel),
            lang: choice.lang.as_str().to_owned(),
        },
        &files,
    );
    place.write(&files, &record)
}

fn next_of(choice: &Choice, dir: &Path) -> Vec<String> {
    let mut next = Vec::new();
    if dir != Path::new(".") {
        let dir = dir.display().to_string();
        let is_plain = dir
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        next.push(if is_plain {
            format!("cd {dir}")
        } else {
            format!("cd '{}'", dir.replace('\'', r"'\''"))
        });
    }
    next.extend(choice.lang.next().map(str::to_owned));
    next
}

fn after_help() -> String {
    let mut text = String::new();
    for (group, heading) in [
        (Group::Pattern, "Patterns, in every language:"),
        (Group::Channel, "Channels:"),
    ] {
        text.push_str(heading);
        text.push('\n');
        for template in all().iter().filter(|template| template.group == group) {
            let langs = match template.langs {
                [only] => format!(" ({})", only.as_str()),
                _ => String::new(),
            };
            text.push_str(&format!(
                "  {:<15} {}{langs}\n",
                template.name, template.about
            ));
        }
        text.push('\n');
    }
    text.push_str(&format!(
        "Languages: {}",
        list(Lang::ALL.iter().map(|lang| lang.as_str()))
    ));
    text
}
