//! Durations in options: a [`Duration`], or a text such as `"30s"`, `"5m"`, `"2h"`.
//!
//! A bare number is refused: it means seconds to one reader and milliseconds to the next.

use std::time::Duration;

use trunkline_contract::error::{Code, Error};

/// Is accepted where an option takes a duration.
///
/// An option with a text that is no duration is refused when the plugin or client starts, or by
/// the call it was given to.
///
/// ```
/// use std::time::Duration;
/// use trunkline::{On, Result};
///
/// async fn seen(_: trunkline::Json) -> Result<()> { Ok(()) }
/// let by_text = On::new("plugin.inbound.>", seen).timeout("2m");
/// let by_value = On::new("plugin.inbound.>", seen).timeout(Duration::from_secs(120));
/// # let _ = (by_text, by_value);
/// ```
pub trait IntoDuration {
    /// Reads the duration.
    ///
    /// # Errors
    /// [`Code::InvalidArguments`] for a text that is none.
    fn into_duration(self) -> Result<Duration, Error>;
}

impl IntoDuration for Duration {
    fn into_duration(self) -> Result<Duration, Error> {
        Ok(self)
    }
}

impl IntoDuration for &str {
    fn into_duration(self) -> Result<Duration, Error> {
        trunkline_contract::duration::parse(self)
            .map_err(|error| Error::new(Code::InvalidArguments, error.to_string()))
    }
}

impl IntoDuration for String {
    fn into_duration(self) -> Result<Duration, Error> {
        self.as_str().into_duration()
    }
}

/// Gives a duration in whole milliseconds.
pub(crate) fn in_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
