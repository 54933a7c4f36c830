//! A provider that sends webhooks over plain sockets, and the daemon's side of it: a plugin that notes what it gets.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use trunkline_contract::webhook::{Scheme, Webhook};
use trunkline_patterns::signature::{Request, sign};

use crate::daemon::Setup;

/// The secret of every webhook of a site.
pub const SECRET: &str = "the secret of the provider";
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// A home with the plugin `shop`, which has webhooks and notes what it gets.
#[derive(Debug)]
pub struct Site {
    /// How its daemon is started.
    pub setup: Setup,
    journal: PathBuf,
}

impl Site {
    /// Writes the home. `webhooks` is further TOML of the manifest, `keys` are keys of the instance's config, `more`
    /// is further TOML of the daemon.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn new(home: &Path, webhooks: &str, keys: &[(&str, &str)], more: &str) -> Self {
        Self::at(home, &home.join("data"), webhooks, keys, more)
    }

    /// The same with the data elsewhere.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn at(home: &Path, data: &Path, webhooks: &str, keys: &[(&str, &str)], more: &str) -> Self {
        let dir = home.join("plugins/shop");
        fs::create_dir_all(&dir).expect("the home can be written");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("webhooks/plugin.py");
        let journal = home.join("journal");
        fs::write(&journal, "").expect("the home can be written");
        let [script, journal_text] = [&script, &journal].map(|path| path.display().to_string());
        let mut manifest = format!(
            "[plugin]\nid = \"shop\"\nversion = \"0.1.0\"\ncommand = [\"python3\", {script:?}]\n\
             [[channels]]\nkind = \"shop\"\n\
             [[webhooks]]\nkind = \"shop\"\nverify = \"github\"\nsecret = \"{{config.key}}\"\n{webhooks}\n\
             [config.key]\ntype = \"string\"\nsecret = true\n\
             [config.journal]\ntype = \"string\"\n"
        );
        let mut config = format!(
            "{more}\nplugin_dirs = [\"plugins\"]\n[[plugins.shop]]\ninstance = \"main\"\n\
             key_env = \"WEBHOOK_KEY\"\njournal = {journal_text:?}\n"
        );
        for (key, value) in keys {
            manifest.push_str(&format!("[config.{key}]\ntype = \"string\"\n"));
            config.push_str(&format!("{key} = {value:?}\n"));
        }
        fs::write(dir.join("plugin.toml"), manifest).expect("the home can be written");
        // Tables of the daemon stand before the plugin's.
        let (tables, plugins) = config.split_at(config.find("\nplugin_dirs").unwrap_or_default());
        let mut setup = Setup::new(home, data, &order(tables, plugins));
        setup.variables.push(("WEBHOOK_KEY".into(), SECRET.into()));
        Self { setup, journal }
    }

    /// Connects to its running daemon.
    ///
    /// # Panics
    /// When it answers no HTTP.
    pub fn provider(&self) -> Provider {
        let text = fs::read_to_string(self.setup.data.join("http.addr")).expect("it listens");
        let address = text.trim().trim_start_matches("http://");
        Provider {
            address: address.parse().expect("an address with a port"),
        }
    }

    /// What the plugin noted, in the order of its notes.
    pub fn noted(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.journal).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines.collect()
    }

    /// Waits until the plugin noted what `is_enough` asks; false when that takes longer than `limit`.
    pub fn wait_noted(&self, limit: Duration, is_enough: impl Fn(&[Value]) -> bool) -> bool {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if is_enough(&self.noted()) {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

/// Keys of the document stand before its tables.
fn order(tables: &str, plugins: &str) -> String {
    let (dirs, rest) = plugins
        .trim_start()
        .split_once('\n')
        .expect("plugin_dirs is a line");
    format!("{dirs}\n{tables}\n{rest}")
}

/// Sends requests to a daemon.
#[derive(Debug, Clone, Copy)]
pub struct Provider {
    /// Where it listens.
    pub address: SocketAddr,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Its headers, names in small letters.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answered {
    /// Finds a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Provider {
    /// Signs a body as GitHub does and posts it.
    ///
    /// # Errors
    /// There is no answer.
    pub fn post(&self, path: &str, id: &str, body: &[u8]) -> io::Result<Answered> {
        let headers = signed(id, body);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        self.send("POST", path, &headers, body)
    }

    /// Sends a request with a length, and reads the answer.
    ///
    /// # Errors
    /// There is no answer.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answered> {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        head.push_str(&format!("content-length: {}\r\n", body.len()));
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.raw(&[head.as_bytes(), body].concat())
    }

    /// Writes bytes as they are, and reads the answer.
    ///
    /// # Errors
    /// There is no answer.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<Answered> {
        let mut stream = self.connect()?;
        // A server that has decided already may close before it has read everything.
        stream.write_all(bytes).ok();
        read(&mut BufReader::new(stream))
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The headers of a request as GitHub signs it.
pub fn signed(id: &str, body: &[u8]) -> Vec<(String, String)> {
    let webhook = Webhook::new("shop", Scheme::Github, "{config.key}");
    let request = Request {
        method: "POST",
        url: "",
        headers: &[],
        body,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| now.as_millis() as u64);
    sign(&webhook, SECRET, &request, id, now_ms).expect("the secret is one")
}

/// Reads one answer.
///
/// # Errors
/// There is none.
pub fn read(stream: &mut impl BufRead) -> io::Result<Answered> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let wrong = || io::Error::other(format!("expected an answer of HTTP, found {lines:?}"));
    let first = lines.first().and_then(|line| line.split(' ').nth(1));
    let status = first.and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, text)| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Answered {
        status,
        headers,
        body,
    })
}
