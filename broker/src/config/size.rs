//! Sizes as people write them: `"512B"`, `"64KiB"`, `"10MiB"`, `"4GiB"`, `"1TiB"`.

use trunkline_contract::toml::{Kind, TableReader};

const UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const HINT: &str = r#"write "512B", "64KiB", "10MiB", "4GiB" or a whole number of bytes"#;

/// Parses a size into bytes.
pub(super) fn parse(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(*factor)
        .filter(|bytes| i64::try_from(*bytes).is_ok())
}

/// Reads a size of at least `low` bytes; the key's name says that a bare number is bytes.
pub(super) fn read(table: &TableReader<'_>, key: &'static str, low: u64) -> Option<u64> {
    let node = table.get(key)?;
    let path = table.path_of(key);
    let bytes = match &node.kind {
        Kind::String(text) => parse(text),
        Kind::Integer(number) => u64::try_from(*number).ok(),
        _ => {
            table.wrong_type(key, "a size such as \"10MiB\"", node);
            return None;
        }
    };
    match bytes {
        Some(bytes) if bytes >= low => Some(bytes),
        Some(bytes) => {
            let message = format!("{path} has to be at least {low} bytes, found {bytes}");
            table.sink().error("invalid_value", &node.place, message);
            None
        }
        None => {
            let message = format!("{path} has to be a size, found {}", node.to_json());
            table
                .sink()
                .error_hint("invalid_value", &node.place, message, HINT);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_of_two() {
        assert_eq!(parse("64KiB"), Some(65536));
        assert_eq!(parse("4GiB"), Some(4 << 30));
        assert_eq!(parse("0B"), Some(0));
        for bad in [
            "",
            "1",
            "1KB",
            "1 KiB",
            "1.5GiB",
            "-1B",
            "9999999999TiB",
            "GiB",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
