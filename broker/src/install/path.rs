//! Which paths a package may have within.

use super::error::InstallError;

/// Most bytes of a path within a package.
const PATH_BYTES_MAX: usize = 1024;
/// Most bytes of one name in it.
const NAME_BYTES_MAX: usize = 255;

/// Checks a path as an archive has it, and gives it without `./` and closing slashes; none: the root itself.
pub(super) fn checked(bytes: &[u8]) -> Result<Option<String>, InstallError> {
    let shown = || String::from_utf8_lossy(bytes).escape_debug().to_string();
    let refused = |what| Err(InstallError::entry(shown(), what));
    let Ok(text) = std::str::from_utf8(bytes) else {
        return refused("expected a path in UTF-8");
    };
    if text.starts_with('/') {
        return refused("expected a path within the package, found an absolute one");
    }
    if text.chars().any(char::is_control) || text.contains('\\') {
        return refused("expected a path without control characters and backslashes");
    }
    let mut names = Vec::new();
    for name in text.split('/') {
        match name {
            "" | "." => {}
            ".." => return refused("expected a path within the package, found one with .."),
            name if name.len() > NAME_BYTES_MAX => return refused("its name is too long"),
            name => names.push(name),
        }
    }
    if names.is_empty() {
        return Ok(None);
    }
    let path = names.join("/");
    if path.len() > PATH_BYTES_MAX {
        return refused("its path is too long");
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_within_the_package() {
        let ok = |text: &str| checked(text.as_bytes()).unwrap();
        assert_eq!(ok("./a//b/"), Some("a/b".to_owned()));
        assert_eq!(ok("./"), None);
        for bad in [
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            "a\nb",
            "a\\..\\b",
            "\u{7f}",
        ] {
            assert!(checked(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(checked(b"\xff").is_err());
        assert!(checked("a/".repeat(600).as_bytes()).is_err());
        assert!(checked("a".repeat(256).as_bytes()).is_err());
    }
}
