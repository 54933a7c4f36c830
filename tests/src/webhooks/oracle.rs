//! The packages that second our signatures and our CloudEvents, installed by `tests/webhooks/prepare` into
//! `target/webhooks`; what is missing fails with that command, and is never left out.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tool::target_dir;

/// Which program has the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oracle {
    /// `tests/webhooks/oracle.py`.
    Python,
    /// `tests/webhooks/oracle.mjs`.
    Node,
}

/// One thing to do with a package.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    /// `sign` or `verify`.
    pub r#do: &'static str,
    /// The name of the package's way.
    pub by: &'static str,
    /// The secret as the provider has it.
    pub secret: String,
    /// The whole address.
    pub url: String,
    /// Headers of the request, names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// The provider's id of the request.
    pub id: String,
    /// When it is signed, in Unix seconds.
    pub timestamp: u64,
}

/// What a package says.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Answer {
    /// Whether it takes the request.
    Taken(bool),
    /// The headers it sends.
    Headers(BTreeMap<String, String>),
}

impl Oracle {
    /// Asks the packages; answers come in the order of the cases.
    ///
    /// # Panics
    /// When the packages are not installed, or the program fails.
    pub fn ask(self, cases: &[Case]) -> Vec<Answer> {
        self.run("oracle", "discord-interactions", cases)
    }

    /// Asks the package of CloudEvents to write and to read them; what is asked and answered stands in
    /// `tests/webhooks/cloud_events.py`.
    ///
    /// # Panics
    /// When the package is not installed, or the program fails.
    pub fn cloud_events(self, asked: &[Value]) -> Vec<Value> {
        self.run("cloud_events", "cloudevents", asked)
    }

    /// Runs a program of this language; in Node it needs a package.
    fn run<A: Serialize, B: DeserializeOwned>(
        self,
        program: &str,
        package: &str,
        asked: &[A],
    ) -> Vec<B> {
        let installed = target_dir()
            .expect("tests run from a target directory")
            .join("webhooks");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("webhooks");
        let mut command = match self {
            Self::Python => {
                let mut command = Command::new(found(installed.join("venv/bin/python")));
                command.arg(sources.join(format!("{program}.py")));
                command
            }
            Self::Node => {
                let project = installed.join("node");
                found(
                    project
                        .join("node_modules")
                        .join(package)
                        .join("package.json"),
                );
                let mut command = Command::new("node");
                command
                    .arg(sources.join(format!("{program}.mjs")))
                    .arg(project);
                command
            }
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let text = serde_json::to_vec(asked).expect("what is asked is JSON");
        let mut stdin = child.stdin.take().expect("it was piped");
        // The programs read everything before they write anything.
        stdin.write_all(&text).expect("the program reads");
        drop(stdin);
        let output = child.wait_with_output().expect("the program ends");
        assert!(
            output.status.success(),
            "{self:?} failed: {}",
            output.status
        );
        let answers: Vec<B> = serde_json::from_slice(&output.stdout).expect("its answers");
        assert_eq!(answers.len(), asked.len(), "everything asked is answered");
        answers
    }
}

fn found(path: PathBuf) -> PathBuf {
    assert!(
        path.exists(),
        "expected {}, found none; run `tests/webhooks/prepare`",
        path.display()
    );
    path
}
