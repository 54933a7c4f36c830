//! `[http]`: a plugin's own HTTP server, as far as the broker has to know it.
//!
//! The broker makes the socket, hands it to the process and passes requests on; what the server does is the
//! plugin's business.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::toml::TableReader;

/// Longest path of a health probe, in bytes.
const PATH_BYTES_MAX: usize = 255;

/// Tells what kind of socket a plugin's own HTTP server listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HttpSocket {
    /// A unix socket: nobody but the daemon's user can reach it.
    #[default]
    Unix,
    /// A port of 127.0.0.1, for servers that know no other: every user of the machine can reach it.
    Tcp,
}

impl HttpSocket {
    /// Lists the words used in manifests.
    pub const WORDS: &'static [(&'static str, Self)] = &[("unix", Self::Unix), ("tcp", Self::Tcp)];
}

/// Describes a plugin's own HTTP server; it counts with the capability `http_server`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnServer {
    /// What it listens on.
    pub socket: HttpSocket,
    /// Path that answers 2xx while it works; `None`: it is not asked.
    pub health: Option<String>,
    /// How often it is asked.
    pub health_interval: Duration,
    /// How long its answer to that may take.
    pub health_timeout: Duration,
    /// How long the head of any other answer may take.
    pub timeout: Duration,
}

impl Default for OwnServer {
    fn default() -> Self {
        Self {
            socket: HttpSocket::Unix,
            health: None,
            health_interval: Duration::from_secs(10),
            health_timeout: Duration::from_secs(2),
            timeout: Duration::from_mins(1),
        }
    }
}

/// Reads the table; without the capability it may not be there.
pub(super) fn read(root: &TableReader<'_>, is_asked: bool) -> OwnServer {
    let default = OwnServer::default();
    let Some(http) = root.table("http") else {
        return default;
    };
    if !is_asked {
        http.sink().error_hint(
            "not_asked",
            http.place(),
            "[http] is given without the capability http_server",
            "add http_server = true to [capabilities], or drop [http]",
        );
    }
    let within = |key, range: RangeInclusive<Duration>, default| {
        duration_within(&http, key, range).unwrap_or(default)
    };
    let (ms, seconds) = (Duration::from_millis, Duration::from_secs);
    let read = OwnServer {
        socket: http
            .choice("socket", HttpSocket::WORDS)
            .unwrap_or(default.socket),
        health: read_health(&http),
        health_interval: within(
            "health_interval",
            ms(100)..=seconds(3600),
            default.health_interval,
        ),
        health_timeout: within(
            "health_timeout",
            ms(10)..=seconds(60),
            default.health_timeout,
        ),
        timeout: within("timeout", ms(100)..=seconds(3600), default.timeout),
    };
    http.finish();
    read
}

fn read_health(http: &TableReader<'_>) -> Option<String> {
    let (path, place) = http.text_at("health")?;
    let is_path = path.starts_with('/')
        && path.len() <= PATH_BYTES_MAX
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !is_path {
        http.sink().error_hint(
            "invalid_value",
            place,
            format!("http.health has to be a path of the server, found {path:?}"),
            r#"write health = "/healthz""#,
        );
    }
    Some(path.to_owned())
}

fn duration_within(
    http: &TableReader<'_>,
    key: &'static str,
    range: RangeInclusive<Duration>,
) -> Option<Duration> {
    let found = http.duration(key)?;
    if !range.contains(&found) {
        let place = http.entry(key).map_or(http.place(), |entry| &entry.place);
        let message = format!(
            "{} has to be {:?} to {:?}, found {found:?}",
            http.path_of(key),
            range.start(),
            range.end()
        );
        http.sink().error("invalid_value", place, message);
    }
    Some(found)
}
