//! Questions on a terminal.

use std::io::{BufRead, Write};

use trunkline_templates::{Group, Lang, Template, all};

use crate::cli::failure::{EXIT_USAGE, Failure};

/// Asks somebody what was not given.
pub(super) trait Ask {
    /// Asks for a name until it is one.
    fn name(&mut self, check: &dyn Fn(&str) -> Result<(), Failure>) -> Result<String, Failure>;
    /// Asks for a pattern or a channel, of those that are written in a language.
    fn template(&mut self, lang: Option<Lang>) -> Result<&'static Template, Failure>;
    /// Asks for one of these languages.
    fn lang(&mut self, langs: &'static [Lang]) -> Result<Lang, Failure>;
}

/// Asks on a terminal.
pub(super) struct Questions<R, W> {
    reader: R,
    writer: W,
}

impl<R: BufRead, W: Write> Questions<R, W> {
    /// Asks on `writer`, and takes answers from `reader`.
    pub(super) fn new(reader: R, writer: W) -> Self {
        Self { reader, writer }
    }

    /// Asks once; `None` is the empty answer.
    fn ask(&mut self, question: &str) -> Result<Option<String>, Failure> {
        let asked = write!(self.writer, "{question}").and_then(|()| self.writer.flush());
        asked.map_err(|error| unanswered(&format!("nothing can be asked: {error}")))?;
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => Err(unanswered("the input ended before the last answer")),
            Ok(_) => Ok(Some(line.trim().to_owned()).filter(|answer| !answer.is_empty())),
            Err(error) => Err(unanswered(&format!("the answer cannot be read: {error}"))),
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.writer, "{text}")
            .map_err(|error| unanswered(&format!("nothing can be said: {error}")))
    }

    /// Asks for one of these, by name or number, until it is one; the empty answer is the first.
    fn one_of(&mut self, question: &str, names: &[&str]) -> Result<usize, Failure> {
        loop {
            let Some(answer) = self.ask(question)? else {
                return Ok(0);
            };
            let number = answer.parse::<usize>().ok();
            let number = number.filter(|number| (1..=names.len()).contains(number));
            let found = number.map(|number| number - 1);
            if let Some(found) = found.or_else(|| names.iter().position(|name| *name == answer)) {
                return Ok(found);
            }
            self.say(&format!(
                "expected one of {}, found {answer:?}",
                names.join(", ")
            ))?;
        }
    }
}

impl<R: BufRead, W: Write> Ask for Questions<R, W> {
    fn name(&mut self, check: &dyn Fn(&str) -> Result<(), Failure>) -> Result<String, Failure> {
        loop {
            let Some(name) = self.ask("name of the plugin: ")? else {
                continue;
            };
            match check(&name) {
                Ok(()) => return Ok(name),
                Err(failure) => self.say(&failure.to_string())?,
            }
        }
    }

    fn template(&mut self, lang: Option<Lang>) -> Result<&'static Template, Failure> {
        let fits = |template: &&Template| lang.is_none_or(|lang| template.langs.contains(&lang));
        let templates: Vec<_> = all().iter().filter(fits).collect();
        for (place, template) in templates.iter().enumerate() {
            let (number, name, about) = (place + 1, template.name, template.about);
            if template.group == Group::Channel && templates[place - 1].group == Group::Pattern {
                self.say("")?;
            }
            self.say(&format!("  {number:>2}  {name:<15} {about}"))?;
        }
        let names: Vec<_> = templates.iter().map(|template| template.name).collect();
        Ok(templates[self.one_of(&format!("what is it? [{}] ", names[0]), &names)?])
    }

    fn lang(&mut self, langs: &'static [Lang]) -> Result<Lang, Failure> {
        let names: Vec<_> = langs.iter().map(|lang| lang.as_str()).collect();
        let question = format!("language, of {}? [{}] ", names.join(", "), names[0]);
        Ok(langs[self.one_of(&question, &names)?])
    }
}

fn unanswered(text: &str) -> Failure {
    Failure::new("missing", EXIT_USAGE, text).hint("trunkline new --help names the flags")
}
