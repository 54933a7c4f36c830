//! The place of an error in what a process wrote to stderr: the file, the line, and what went wrong there.
//!
//! It knows how Python, Node and Rust tell of an error that ends a program, and their compilers of one that
//! keeps it from starting. Of anything else it gives the last line.

use std::path::Path;

/// Finds what ended a process in the last it wrote to stderr; none when that is empty. Paths below `dir`
/// are told from there on.
pub fn cause(stderr_tail: &str, dir: &Path) -> Option<String> {
    let lines: Vec<&str> = stderr_tail.lines().map(str::trim_end).collect();
    let short = |path: &str| -> String {
        let path = path.strip_prefix("file://").unwrap_or(path);
        let below = Path::new(path).strip_prefix(dir);
        below.map_or_else(|_| path.to_owned(), |below| below.display().to_string())
    };
    python(&lines, &short, dir)
        .or_else(|| rust_panic(&lines, &short))
        .or_else(|| compiler(&lines, &short))
        .or_else(|| node(&lines, &short, dir))
        .or_else(|| {
            let mut said = lines.iter().rev().map(|line| line.trim());
            said.find(|line| !line.is_empty()).map(str::to_owned)
        })
}

/// `  File "echo.py", line 7, in f`, of which the last below the plugin's directory counts, and after the
/// frames the error itself.
fn python(lines: &[&str], short: &dyn Fn(&str) -> String, dir: &Path) -> Option<String> {
    let frame = |line: &str| -> Option<(String, u32)> {
        let rest = line.trim_start().strip_prefix("File \"")?;
        let (path, rest) = rest.split_once("\", line ")?;
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((path.to_owned(), number.parse().ok()?))
    };
    let frames: Vec<(usize, (String, u32))> = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| Some((at, frame(line)?)))
        .collect();
    let last = frames.last()?.0;
    let error = lines[last + 1..]
        .iter()
        .find(|line| !line.is_empty() && !line.starts_with([' ', '\t']))?;
    let is_own = |path: &str| Path::new(path).starts_with(dir) || !path.starts_with('/');
    let is_own = |path: &str| is_own(path) && !path.starts_with('<') && !path.contains("/.venv/");
    let own = frames.iter().rev().find(|(_, (path, _))| is_own(path));
    let (_, (path, number)) = own.or(frames.last())?;
    Some(format!("{}:{number}: {error}", short(path)))
}

/// `thread 'main' panicked at src/main.rs:7:12:`, then the text.
fn rust_panic(lines: &[&str], short: &dyn Fn(&str) -> String) -> Option<String> {
    let at = lines
        .iter()
        .rposition(|line| line.contains(" panicked at "))?;
    let (_, place) = lines[at].rsplit_once(" panicked at ")?;
    let text = lines.get(at + 1).map_or("", |line| line.trim());
    Some(format!("{}: {text}", short(place.trim_end_matches(':'))))
}

/// `error[E0425]: text`, then `  --> src/main.rs:7:12`.
fn compiler(lines: &[&str], short: &dyn Fn(&str) -> String) -> Option<String> {
    let at = lines.iter().position(|line| line.starts_with("error"))?;
    let place = lines[at..]
        .iter()
        .find_map(|line| line.trim_start().strip_prefix("--> "))?;
    Some(format!("{}: {}", short(place), lines[at]))
}

/// `/dir/echo.js:7` before the source line, or the first frame of the stack below the plugin's directory;
/// and the line with the error's name.
fn node(lines: &[&str], short: &dyn Fn(&str) -> String, dir: &Path) -> Option<String> {
    let is_error = |line: &&&str| {
        let name = line.split(':').next().unwrap_or_default();
        let name = name.strip_prefix("Uncaught ").unwrap_or(name);
        let name = name.split(' ').next().unwrap_or_default();
        line.contains(": ") && name.ends_with("Error")
    };
    let error = lines.iter().find(is_error)?;
    let placed = |text: &str| {
        let (path, _) = text.split_once(':')?;
        let path = if path == "file" {
            text.strip_prefix("file://")?.split(':').next()?
        } else {
            path
        };
        Path::new(path).starts_with(dir).then(|| short(text))
    };
    let head = lines.iter().find_map(|line| {
        let number = line.rsplit_once(':')?.1;
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| placed(line)).flatten()
    });
    let frame = || {
        lines.iter().find_map(|line| {
            let frame = line.trim_start().strip_prefix("at ")?;
            let place = frame.rsplit_once('(').map_or(frame, |(_, place)| place);
            placed(place.trim_end_matches(')'))
        })
    };
    Some(format!("{}: {error}", head.or_else(frame)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        cause(text, Path::new("/plugins/hello")).expect("something was said")
    }

    #[test]
    fn a_python_traceback_is_told_by_the_plugins_own_line() {
        let text = "Traceback (most recent call last):\n  File \"/plugins/hello/echo.py\", line 7, in <module>\n    Rply(1)\nNameError: name 'Rply' is not defined\n";
        assert_eq!(of(text), "echo.py:7: NameError: name 'Rply' is not defined");
        let deep = "Traceback (most recent call last):\n  File \"/plugins/hello/echo.py\", line 9, in <module>\n    plugin.run()\n  File \"/usr/lib/python3/trunkline/api.py\", line 40, in run\n    x\nValueError: expected a topic\n";
        assert_eq!(of(deep), "echo.py:9: ValueError: expected a topic");
        let syntax = "  File \"/plugins/hello/echo.py\", line 3\n    def (:\n        ^\nSyntaxError: invalid syntax\n";
        assert_eq!(of(syntax), "echo.py:3: SyntaxError: invalid syntax");
    }

    #[test]
    fn a_node_error_is_told_by_its_place() {
        let text = "/plugins/hello/echo.js:7\nRply();\n^\n\nReferenceError: Rply is not defined\n    at Object.<anonymous> (/plugins/hello/echo.js:7:1)\n    at node:internal/x:1:2\n\nNode.js v22\n";
        assert_eq!(of(text), "echo.js:7: ReferenceError: Rply is not defined");
        let module =
            "file:///plugins/hello/echo.mjs:2\nRply();\n^\n\nReferenceError: Rply is not defined\n";
        assert_eq!(
            of(module),
            "echo.mjs:2: ReferenceError: Rply is not defined"
        );
    }

    #[test]
    fn a_panic_and_a_compilers_error_are_told_by_their_place() {
        let panic =
            "thread 'main' panicked at src/main.rs:7:12:\nno such thing\nnote: run with x\n";
        assert_eq!(of(panic), "src/main.rs:7:12: no such thing");
        let built = "   Compiling x\nerror[E0425]: cannot find function `rply`\n  --> src/main.rs:4:5\n   |\n";
        assert_eq!(
            of(built),
            "src/main.rs:4:5: error[E0425]: cannot find function `rply`"
        );
    }

    #[test]
    fn of_anything_else_the_last_line_is_told() {
        assert_eq!(of("one\ntwo\n\n"), "two");
        assert_eq!(cause("\n", Path::new("/")), None);
    }
}
