//! Fields that manifests and the operator's file have in common.

use super::Limits;
use crate::id;
use crate::toml::{Place, Sink, TableReader};
use crate::tool::ToolFilter;
use crate::topic::Filter;

/// Refuses what is no channel kind.
pub fn check_kind(sink: &Sink, path: &str, kind: &str, place: &Place) {
    if !id::is_instance_name(kind) {
        sink.error_hint(
            "invalid_value",
            place,
            format!("{path} {kind:?} is not a channel kind"),
            "1 to 64 of a-z, 0-9, _ and -, a letter or digit first, no __ inside and no _ at the \
             end",
        );
    }
}

/// Reads a list of texts.
pub(super) fn texts(table: &TableReader<'_>, key: &'static str) -> Option<Vec<String>> {
    let texts = table.strings(key)?;
    Some(texts.into_iter().map(|(text, _)| text.to_owned()).collect())
}

/// Reads a list of topic filters; what is none is reported and left out.
pub fn read_filters(table: &TableReader<'_>, key: &'static str) -> Vec<Filter> {
    let mut filters = Vec::new();
    for (text, place) in table.strings(key).unwrap_or_default() {
        match Filter::parse(text) {
            Ok(filter) => filters.push(filter),
            Err(error) => {
                let message = format!("{}: {}", table.path_of(key), error.message);
                table.sink().error("invalid_topic", place, message);
            }
        }
    }
    filters
}

/// Reads a list of channel kinds; what is none is reported and left out.
pub fn read_kinds(table: &TableReader<'_>, key: &'static str) -> Vec<String> {
    let mut kinds = Vec::new();
    for (text, place) in table.strings(key).unwrap_or_default() {
        check_kind(table.sink(), &table.path_of(key), text, place);
        kinds.push(text.to_owned());
    }
    kinds
}

/// Reads a list of tool filters; what is none is reported and left out.
pub fn read_tools(table: &TableReader<'_>, key: &'static str) -> Vec<ToolFilter> {
    let mut tools = Vec::new();
    for (text, place) in table.strings(key).unwrap_or_default() {
        match ToolFilter::parse(text) {
            Ok(filter) => tools.push(filter),
            Err(error) => {
                let message = format!("{}: {}", table.path_of(key), error.message);
                table.sink().error("invalid_value", place, message);
            }
        }
    }
    tools
}

/// Reads the bounds of a process.
pub fn read_limits(limits: TableReader<'_>) -> Limits {
    let read = Limits {
        memory_mb: limits.integer("memory_mb", 16..=1 << 24),
        open_files: limits.integer("open_files", 16..=1 << 20),
        file_size_mb: limits.integer("file_size_mb", 1..=1 << 24),
    };
    limits.finish();
    read
}
