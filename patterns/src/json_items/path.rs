//! A place in a JSON document: a JSON pointer (`/data/items`) or names with dots (`data.items`).

use serde_json::Value;

const SEGMENTS_MAX: usize = 16;
const PATH_BYTES_MAX: usize = 256;

/// Is a place in a document; the empty one is the document itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(Vec<String>);

impl Path {
    /// Reads a path; `None` if it is neither form.
    ///
    /// ```
    /// use trunkline_patterns::json_items::Path;
    /// let document = serde_json::json!({ "data": { "items": [7] } });
    /// let found = Path::parse("/data/items/0").unwrap();
    /// assert_eq!(found.get(&document).unwrap(), 7);
    /// assert_eq!(Path::parse("data.items.0").unwrap(), found);
    /// assert!(Path::parse("data..items").is_none());
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > PATH_BYTES_MAX {
            return None;
        }
        let segments: Vec<String> = if text.is_empty() || text == "." {
            Vec::new()
        } else if let Some(pointer) = text.strip_prefix('/') {
            pointer
                .split('/')
                .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
                .collect()
        } else {
            let segments: Vec<String> = text.split('.').map(str::to_owned).collect();
            if segments.iter().any(|segment| segment.is_empty()) {
                return None;
            }
            segments
        };
        (segments.len() <= SEGMENTS_MAX).then_some(Self(segments))
    }

    /// Gives what is at this place.
    pub fn get<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.0
            .iter()
            .try_fold(document, |value, segment| match value {
                Value::Object(fields) => fields.get(segment),
                Value::Array(list) => list.get(segment.parse::<usize>().ok()?),
                _ => None,
            })
    }
}
