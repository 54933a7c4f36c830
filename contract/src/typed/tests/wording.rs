//! Descriptions that are hard to write as comments.

use serde_json::json;

use super::super::{Language, client};
use super::tool;

/// Neither rustdoc nor doctest finds an example in what a plugin says of itself.
#[test]
fn a_description_is_never_an_example_that_runs() {
    let code = "runs()";
    let mut tool = tool("a.b", json!({"type": "object", "properties": {"c": {}}}));
    for before in [
        "    ",
        ">     ",
        "-      ",
        "1.\t\t",
        "> - >>> ",
        ">>> ",
        ">>>>>> ",
        "\u{a0}    ",
    ] {
        for fence in ["", "```\n", "~~~~rust\n"] {
            tool.description = format!("a\n\n{fence}{before}{code}\n{fence}");
            tool.input_schema["properties"]["c"]["description"] = tool.description.clone().into();
            let rust = client(&[tool.clone()], Language::Rust).unwrap();
            let docs = rust
                .lines()
                .filter_map(|line| line.trim_start().strip_prefix("///"));
            for line in docs {
                assert!(
                    !line.contains("  ") && !line.contains("```") && !line.contains("~~~"),
                    "{line}"
                );
            }
            let python = client(&[tool.clone()], Language::Python).unwrap();
            assert!(!python.contains(">>>"), "{python}");
        }
    }
}

/// Gives the text of a docstring as Python reads it, and what comes after it.
fn docstring(code: &str) -> Option<(String, &str)> {
    let (_, mut rest) = code.split_once("\"\"\"")?;
    let mut text = String::new();
    loop {
        if let Some(after) = rest.strip_prefix("\"\"\"") {
            return Some((text, after));
        }
        let mut chars = rest.chars();
        match (chars.next()?, chars.clone().next()) {
            ('\\', Some(escaped)) => {
                text.push(escaped);
                chars.next();
            }
            (c, _) => text.push(c),
        }
        rest = chars.as_str();
    }
}

/// Every description of up to five of these is a docstring that says just that.
#[test]
fn a_description_of_quotes_and_backslashes_ends_no_docstring() {
    let mut tool = tool(
        "a.b",
        json!({"type": "object", "additionalProperties": false}),
    );
    let mut all = vec![String::new()];
    for _ in 0..5 {
        let longer: Vec<String> = all
            .iter()
            .flat_map(|text| ["\"", "\\", "x"].map(|end| format!("{text}{end}")))
            .collect();
        all = longer.clone();
        for text in longer {
            tool.description.clone_from(&text);
            let code = client(&[tool.clone()], Language::Python).unwrap();
            let (_, method) = code.split_once("def b(self) -> ToolCall[Any]:\n").unwrap();
            let (found, after) = docstring(method).unwrap();
            assert_eq!(found, text, "{method}");
            assert!(after.starts_with("\n        return "), "{method}");
        }
    }
}

#[test]
fn a_class_in_python_has_a_body_whatever_its_description_is() {
    for (name, description) in [
        ("a", "\u{feff}"),
        ("x-y", "\u{200e}"),
        ("x-y", "\u{202e}\n\u{feff}"),
    ] {
        let schema = json!({"type": "object", "properties": {
            "empty": {"type": "object", "additionalProperties": false, "description": description},
            "full": {"type": "object", "properties": {name: {}}, "description": description},
        }});
        let text = client(&[tool("a.b", schema)], Language::Python).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines
            .windows(2)
            .filter(|pair| pair[0].starts_with("class "))
        {
            assert!(pair[1].starts_with("    "), "{text}");
        }
    }
}
