//! `[http]`: where the daemon listens for HTTP, and what it lets in.
//!
//! Refuses what would put a token on an open network: another address than loopback needs TLS, or a
//! proxy in front of it that has it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use trunkline_contract::toml::TableReader;

use super::load::Around;
use super::size;

/// Longest path of a unix socket on Linux.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Says where HTTP is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// At an address; port 0 lets the system choose one.
    Tcp(SocketAddr),
    /// At a unix socket that only the daemon's user may open.
    Unix(PathBuf),
}

/// Is a network, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, or an address alone.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, Some(bits.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let all = if matches!(address, IpAddr::V4(_)) {
            32
        } else {
            128
        };
        let bits = bits.unwrap_or(all);
        (bits <= all).then_some(Self { address, bits })
    }

    /// Tells whether an address lies in it.
    pub fn contains(&self, other: IpAddr) -> bool {
        let shift = |all: u8| u32::from(all - self.bits);
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Names the files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those above it, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// Says who may read `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrape {
    /// Whoever has a token that may read something.
    Token,
    /// Whoever reaches the address.
    Open,
}

impl Scrape {
    const WORDS: &'static [(&'static str, Self)] = &[("token", Self::Token), ("open", Self::Open)];
}

/// Holds `[http]`.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpConfig {
    /// Where it listens.
    pub listen: Listen,
    /// Certificate and key, if it speaks TLS itself.
    pub tls: Option<TlsFiles>,
    /// A proxy in front of it speaks TLS.
    pub behind_proxy: bool,
    /// Where such a proxy may be.
    pub trusted_proxies: Vec<Network>,
    /// What the world calls it, without a slash at the end.
    pub public_url: Option<String>,
    /// Names it answers to beside its own, in lower case.
    pub hosts: Vec<String>,
    /// Origins whose pages may use it.
    pub origins: Vec<String>,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections of one address at once.
    pub connections_per_source_max: usize,
    /// How long the head of a request may take.
    pub header_timeout: Duration,
    /// How long the body of a request may take.
    pub body_timeout: Duration,
    /// Size of the head of a request.
    pub header_bytes_max: usize,
    /// Size of the body of a request.
    pub body_bytes_max: usize,
    /// Who may read `/metrics`.
    pub metrics: Scrape,
    /// Instances without which the daemon is not ready: `plugin/instance`, or `plugin` for all of its.
    pub required: Vec<String>,
    /// Webhook requests per second of one source.
    pub hooks_per_source_per_second: u32,
    /// Webhook requests per second of all sources together.
    pub hooks_per_second: Option<u32>,
}

/// Reads `[http]`.
pub(super) fn read(root: &TableReader<'_>, around: &Around<'_>) -> Option<HttpConfig> {
    let http = root.table("http")?;
    let data_dir = root
        .table("broker")
        .and_then(|broker| broker.text("data_dir"));
    let listen = read_listen(&http, around, data_dir.unwrap_or_default());
    let tls = read_tls(&http, around);
    let config = (
        http.boolean("behind_proxy"),
        read_networks(&http),
        read_public_url(&http),
        read_hosts(&http),
        read_origins(&http),
        http.integer("connections_max", 1..=100_000),
        http.integer("connections_per_source_max", 1..=100_000),
        http.duration("header_timeout"),
        http.duration("body_timeout"),
        size::read(&http, "header_bytes_max", 8192),
        size::read(&http, "body_bytes_max", 1024),
        http.integer("hooks_per_source_per_second", 1..=1_000_000),
        http.integer("hooks_per_second", 1..=1_000_000),
    );
    let metrics = http.choice("metrics", Scrape::WORDS);
    let required = read_required(&http);
    let behind_proxy = config.0?;
    let (listen, tls) = (listen?, tls?);
    if let Listen::Tcp(address) = listen
        && !address.ip().is_loopback()
        && tls.is_none()
        && !behind_proxy
        && let Some(node) = http.get("listen")
    {
        http.sink().error_hint(
            "insecure_listen",
            &node.place,
            format!("http.listen = \"{address}\" would take tokens unencrypted from the network"),
            "give tls_cert and tls_key, or behind_proxy = true with a proxy that speaks TLS, or \
             listen on 127.0.0.1",
        );
    }
    http.finish();
    Some(HttpConfig {
        listen,
        tls,
        behind_proxy,
        trusted_proxies: config.1?,
        public_url: config.2?,
        hosts: config.3?,
        origins: config.4?,
        connections_max: config.5? as usize,
        connections_per_source_max: config.6? as usize,
        header_timeout: config.7?,
        body_timeout: config.8?,
        header_bytes_max: config.9? as usize,
        body_bytes_max: config.10? as usize,
        metrics: metrics?,
        required: required?,
        hooks_per_source_per_second: config.11? as u32,
        hooks_per_second: config.12.map(|most| most as u32),
    })
}

fn read_listen(http: &TableReader<'_>, around: &Around<'_>, data_dir: &str) -> Option<Listen> {
    let (text, place) = http.text_at("listen")?;
    if text == "off" {
        return Some(Listen::Off);
    }
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        let path = around.base.join(path.replace("<data_dir>", data_dir));
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            http.sink().error_hint(
                "invalid_value",
                place,
                format!(
                    "the path in http.listen has to be at most {SOCKET_PATH_BYTES_MAX} bytes, \
                     found {bytes}"
                ),
                "give a shorter path, such as listen = \"unix:/run/trunkline-http.sock\"",
            );
        }
        return Some(Listen::Unix(path));
    }
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse().ok(),
        None => text.parse().ok(),
    };
    if address.is_none() {
        http.sink().error_hint(
            "invalid_value",
            place,
            format!("http.listen has to be an address with a port, found {text:?}"),
            "write \"127.0.0.1:7711\", \"[::1]:7711\", \"unix:<path>\" or \"off\"",
        );
    }
    address.map(Listen::Tcp)
}

/// Outer `None`: something is wrong; inner: no TLS.
#[expect(clippy::option_option, reason = "wrong, absent and present are three")]
fn read_tls(http: &TableReader<'_>, around: &Around<'_>) -> Option<Option<TlsFiles>> {
    let file = |key| match http.get(key) {
        Some(_) => http.text(key).map(|path| Some(around.base.join(path))),
        None => Some(None),
    };
    match (file("tls_cert")?, file("tls_key")?) {
        (None, None) => Some(None),
        (Some(cert), Some(key)) => Some(Some(TlsFiles { cert, key })),
        (cert, _) => {
            let (there, missing) = if cert.is_some() {
                ("tls_cert", "tls_key")
            } else {
                ("tls_key", "tls_cert")
            };
            let place = http.get(there).map_or(http.place(), |node| &node.place);
            let message = format!("http.{there} is given without http.{missing}");
            let hint = format!("add {missing}, or leave both out");
            http.sink()
                .error_hint("invalid_value", place, message, hint);
            None
        }
    }
}

fn read_networks(http: &TableReader<'_>) -> Option<Vec<Network>> {
    let texts = http.strings("trusted_proxies")?;
    let mut networks = Vec::with_capacity(texts.len());
    for (text, place) in texts {
        match Network::parse(text) {
            Some(network) => networks.push(network),
            None => http.sink().error_hint(
                "invalid_value",
                place,
                format!("http.trusted_proxies has to hold networks, found {text:?}"),
                "write \"10.0.0.0/8\" or \"10.1.2.3\"",
            ),
        }
    }
    Some(networks)
}

#[expect(clippy::option_option, reason = "wrong, absent and present are three")]
fn read_public_url(http: &TableReader<'_>) -> Option<Option<String>> {
    if http.get("public_url").is_none() {
        return Some(None);
    }
    let (text, place) = http.text_at("public_url")?;
    let url = text.trim_end_matches('/');
    if host_of_url(url).is_none() {
        http.sink().error_hint(
            "invalid_value",
            place,
            format!("http.public_url has to be an address of the web, found {text:?}"),
            "write \"https://bots.example.com\", with a path if the proxy has one",
        );
        return None;
    }
    Some(Some(url.to_owned()))
}

/// The host of `http(s)://host[:port][/path]`.
pub fn host_of_url(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let host = rest.split('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    (!host.is_empty() && host.chars().all(is_plain)).then_some(host)
}

fn read_required(http: &TableReader<'_>) -> Option<Vec<String>> {
    let texts = http.strings("required")?;
    Some(texts.into_iter().map(|(text, _)| text.to_owned()).collect())
}

fn read_hosts(http: &TableReader<'_>) -> Option<Vec<String>> {
    let texts = http.strings("hosts")?;
    let mut hosts = Vec::with_capacity(texts.len());
    for (text, place) in texts {
        if text.is_empty() || text.contains(['/', '*', ' ']) {
            http.sink().error_hint(
                "invalid_value",
                place,
                format!("http.hosts has to hold names, found {text:?}"),
                "write \"bots.example.com\", without scheme and path",
            );
        }
        hosts.push(text.to_ascii_lowercase());
    }
    Some(hosts)
}

fn read_origins(http: &TableReader<'_>) -> Option<Vec<String>> {
    let texts = http.strings("origins")?;
    let mut origins = Vec::with_capacity(texts.len());
    for (text, place) in texts {
        let host = host_of_url(text);
        if host.is_none_or(|host| !text.ends_with(host)) {
            http.sink().error_hint(
                "invalid_value",
                place,
                format!("http.origins has to hold origins, found {text:?}"),
                "write \"https://console.example.com\", without a path; there is no wildcard",
            );
        }
        origins.push(text.to_ascii_lowercase());
    }
    Some(origins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.200.1.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("::1", "::1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "10.0.0.1", false),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                expected,
                "{network:?}"
            );
        }
        for wrong in ["10.0.0.0/33", "10.0.0", "localhost", "::/129", ""] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
