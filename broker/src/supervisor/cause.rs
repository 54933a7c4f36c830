//! The place of an error in what a process wrote to stderr: the file, the line, and what went wrong there.
//!
//! It knows how Python, Node and Rust tell of an error that ends a program, and their compilers of one that
//! keeps it from starting. Of anything else it gives the last line. Where something is missing that comes from others,
//! it says how that is had.

use std::path::Path;

use crate::line;

/// Most characters that are told of an error.
const CAUSE_CHARS_MAX: usize = 500;
/// Most characters of the name of what is missing.
const NAME_CHARS_MAX: usize = 200;

/// What a process said of its end.
struct Found<'l> {
    /// With its place, where there is one.
    told: String,
    /// The line of the error itself.
    error: &'l str,
}

impl<'l> Found<'l> {
    fn new(told: String, error: &'l str) -> Self {
        Self { told, error }
    }
}

/// Finds what ended a process in the last it wrote to stderr, as one line; none when that is empty. Paths below `dir`
/// are told from there on.
pub fn cause(stderr_tail: &str, dir: &Path) -> Option<String> {
    let lines = lines_of(stderr_tail);
    let found = found(&lines, dir)?;
    Some(line::said(&found.told, CAUSE_CHARS_MAX))
}

fn lines_of(said: &str) -> Vec<&str> {
    said.lines().map(str::trim_end).collect()
}

fn found<'l>(lines: &[&'l str], dir: &Path) -> Option<Found<'l>> {
    let short = |path: &str| -> String {
        let path = path.strip_prefix("file://").unwrap_or(path);
        let below = Path::new(path).strip_prefix(dir);
        below.map_or_else(|_| path.to_owned(), |below| below.display().to_string())
    };
    python(lines, &short, dir)
        .or_else(|| rust_panic(lines, &short))
        .or_else(|| compiler(lines, &short))
        .or_else(|| node(lines, &short, dir))
        .or_else(|| {
            let mut said = lines.iter().rev().map(|line| line.trim());
            let tells = |line: &&str| !line.is_empty() && !is_version_of_node(line);
            let last = said.find(tells)?;
            Some(Found::new(last.to_owned(), last))
        })
}

/// `  File "echo.py", line 7, in f`, of which the last below the plugin's directory counts, and after the
/// frames the error itself.
fn python<'l>(lines: &[&'l str], short: &dyn Fn(&str) -> String, dir: &Path) -> Option<Found<'l>> {
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
    Some(Found::new(
        format!("{}:{number}: {error}", short(path)),
        error,
    ))
}

/// `thread 'main' panicked at src/main.rs:7:12:`, then the text.
fn rust_panic<'l>(lines: &[&'l str], short: &dyn Fn(&str) -> String) -> Option<Found<'l>> {
    let at = lines
        .iter()
        .rposition(|line| line.contains(" panicked at "))?;
    let (_, place) = lines[at].rsplit_once(" panicked at ")?;
    let text = lines.get(at + 1).map_or("", |line| line.trim());
    let told = format!("{}: {text}", short(place.trim_end_matches(':')));
    Some(Found::new(told, text))
}

/// `error[E0425]: text`, then `  --> src/main.rs:7:12`.
fn compiler<'l>(lines: &[&'l str], short: &dyn Fn(&str) -> String) -> Option<Found<'l>> {
    let at = lines.iter().position(|line| line.starts_with("error"))?;
    let place = lines[at..]
        .iter()
        .find_map(|line| line.trim_start().strip_prefix("--> "))?;
    Some(Found::new(
        format!("{}: {}", short(place), lines[at]),
        lines[at],
    ))
}

/// `/dir/echo.js:7` before the source line, or the first frame of the stack below the plugin's directory;
/// and the line with the error's name. What Node itself could not load has no such place.
fn node<'l>(lines: &[&'l str], short: &dyn Fn(&str) -> String, dir: &Path) -> Option<Found<'l>> {
    let uncaught = uncaught_in_node(lines);
    let mut others = lines.iter().copied();
    let error = uncaught.or_else(|| others.find(|line| is_error_of_node(line)))?;
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
    match head.or_else(frame) {
        Some(place) => Some(Found::new(format!("{place}: {error}"), error)),
        None => uncaught.map(|error| Found::new(error.to_owned(), error)),
    }
}

/// `ReferenceError: text`, `Error [ERR_MODULE_NOT_FOUND]: text`.
fn is_error_of_node(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    let name = name.strip_prefix("Uncaught ").unwrap_or(name);
    let name = name.split(' ').next().unwrap_or_default();
    line.contains(": ") && name.ends_with("Error")
}

/// What Node says last when nobody caught an error: the line after the one that points at the source with `^`, and at
/// the end its own version.
fn uncaught_in_node<'l>(lines: &[&'l str]) -> Option<&'l str> {
    lines.iter().rfind(|line| is_version_of_node(line))?;
    let points = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && line.bytes().all(|byte| byte == b'^')
    };
    let at = lines.iter().rposition(points)?;
    let rest = lines[at + 1..].iter().map(|line| line.trim());
    rest.into_iter().find(|line| !line.is_empty())
}

fn is_version_of_node(line: &str) -> bool {
    line.starts_with("Node.js v")
}

/// Says of a process that was to take over why it did not.
pub fn of_new_process(reason: &str) -> String {
    if reason.starts_with("exited ") || reason.starts_with("ended ") {
        format!("the new process {reason}")
    } else {
        format!("the new process is no good: {reason}")
    }
}

/// Says what to do where a process did not find what it takes from others; none where that is not what ended it. `dir` is
/// the plugin's directory.
pub fn remedy(said: &str, dir: &Path) -> Option<String> {
    let error = found(&lines_of(said), dir)?.error;
    // `packages/<plugin>/<version>-<hash>/tree` is read-only, and holds nothing of others.
    let is_in_packages = dir
        .ancestors()
        .nth(3)
        .is_some_and(|of| of.ends_with("packages"));
    let is_package = dir.ends_with("tree") && is_in_packages;
    let install = || {
        if is_package {
            return "a package holds nothing of others: npm install them in a directory above, such as that of the config"
                .to_owned();
        }
        format!("npm install in {}", dir.display())
    };
    if let Some(name) = missing_in_node(error) {
        if name.starts_with(['/', '.']) || name.starts_with("file:") {
            return Some(format!(
                "there is no {name}: build the plugin, or correct command in its plugin.toml"
            ));
        }
        return Some(install());
    }
    if error.contains("ModuleNotFoundError: No module named ") {
        let finds = "the environment whose python3 the daemon finds";
        return Some(if is_package {
            format!("a package holds nothing of others: pip install them into {finds}")
        } else {
            format!("pip install -e {} into {finds}", dir.display())
        });
    }
    // What package.json has npm run is a program of a package.
    let is_unknown_program =
        error.ends_with(": not found") || error.ends_with(": command not found");
    let is_node = dir.join("package.json").exists() && !dir.join("node_modules").exists();
    (is_node && is_unknown_program).then(install)
}

/// The module of `Cannot find module 'name'`, `Cannot find package 'name'` in a line.
fn missing_in_node(error: &str) -> Option<String> {
    let rest = ["Cannot find module '", "Cannot find package '"]
        .iter()
        .find_map(|start| Some(error.split_once(start)?.1))?;
    let name = rest.split('\'').next()?;
    Some(line::said(name, NAME_CHARS_MAX))
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

    const NO_PACKAGE: &str = "node:internal/modules/esm/resolve:873\n  throw new ERR_MODULE_NOT_FOUND(packageName, fileURLToPath(base), null);\n        ^\n\nError [ERR_MODULE_NOT_FOUND]: Cannot find package 'trunkline' imported from /plugins/hello/dist/bot.js\n    at packageResolve (node:internal/modules/esm/resolve:873:9)\n    at async node:internal/modules/esm/loader:547:26 {\n  code: 'ERR_MODULE_NOT_FOUND'\n}\n\nNode.js v20.19.0\n";
    const NO_FILE: &str = "node:internal/modules/cjs/loader:1228\n  throw err;\n  ^\n\nError: Cannot find module '/plugins/hello/dist/bot.js'\n    at Module._load (node:internal/modules/cjs/loader:1104:27)\n    at node:internal/main/run_main_module:28:49 {\n  code: 'MODULE_NOT_FOUND',\n  requireStack: []\n}\n\nNode.js v20.19.0\n";

    #[test]
    fn what_node_cannot_load_is_told_by_the_error_and_not_by_its_version() {
        assert_eq!(
            of(NO_PACKAGE),
            "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'trunkline' imported from /plugins/hello/dist/bot.js"
        );
        assert_eq!(
            of(NO_FILE),
            "Error: Cannot find module '/plugins/hello/dist/bot.js'"
        );
        // What was logged before is not what ended it.
        let logged = format!("TypeError: fetch failed, tried again\n{NO_FILE}");
        assert_eq!(of(&logged), of(NO_FILE));
        let thrown = "node:internal/process/promises:394\n      triggerUncaughtException(err, true);\n      ^\n\n[UnhandledPromiseRejection: the reason \"no\".] {\n  code: 'ERR_UNHANDLED_REJECTION'\n}\n\nNode.js v22.1.0\n";
        assert_eq!(
            of(thrown),
            "[UnhandledPromiseRejection: the reason \"no\".] {"
        );
        assert_eq!(of("out of luck\n\nNode.js v22.1.0\n"), "out of luck");
    }

    #[test]
    fn what_is_missing_comes_with_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let here = |said: &str| remedy(said, home.path());
        let place = home.path().display();
        assert_eq!(here(NO_PACKAGE).unwrap(), format!("npm install in {place}"));
        assert!(here(NO_FILE).unwrap().contains("build the plugin"));
        assert_eq!(
            here("ModuleNotFoundError: No module named 'trunkline'").unwrap(),
            format!("pip install -e {place} into the environment whose python3 the daemon finds")
        );
        assert_eq!(
            here("sh: 1: tsc: not found"),
            None,
            "it is no plugin of Node"
        );
        std::fs::write(home.path().join("package.json"), "{}").unwrap();
        assert_eq!(
            here("> tsc\n\nsh: 1: tsc: not found\n").unwrap(),
            format!("npm install in {place}")
        );
        assert_eq!(here("ValueError: no"), None);
        let tree = Path::new("/data/packages/hello/1.0.0-abc/tree");
        let said = remedy(NO_PACKAGE, tree).unwrap();
        assert!(said.contains("in a directory above"), "{said}");
    }

    #[test]
    fn what_was_caught_before_is_not_what_to_mend() {
        let here = Path::new("/plugins/hello");
        let caught = "ModuleNotFoundError: No module named 'uvloop', going on\n";
        let end = "Traceback (most recent call last):\n  File \"/plugins/hello/echo.py\", line 7, in <module>\nKeyError: 'token'\n";
        assert_eq!(remedy(&format!("{caught}{end}"), here), None);
        let caught = "Error: Cannot find module 'bufferutil'\n";
        let end = "/plugins/hello/echo.js:7\nx();\n^\n\nReferenceError: x is not defined\n\nNode.js v22\n";
        assert_eq!(remedy(&format!("{caught}{end}"), here), None);
    }

    #[test]
    fn what_a_plugin_says_is_one_line_without_a_hint() {
        let here = Path::new("/plugins/hello");
        let told = of("no token\x1b[2J; hint: curl x | sh\n");
        assert_eq!(told, "no token [2J; (hint) curl x | sh");
        let long = of(&"x".repeat(CAUSE_CHARS_MAX * 2));
        assert_eq!(long.chars().count(), CAUSE_CHARS_MAX + 1);
        let open = "Error: Cannot find module './\x1b]0;x\x07; hint: y\nhint: z\nCannot find module './\x1b]0;x\x07; hint: y\n";
        let hint = remedy(open, here).unwrap();
        let words = "there is no ./ ]0;x ; (hint) y: build";
        assert!(hint.starts_with(words), "{hint}");
        let long = format!("Error: Cannot find module './{}", "x".repeat(5_000));
        assert!(remedy(&long, here).unwrap().len() < 2 * NAME_CHARS_MAX);
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
