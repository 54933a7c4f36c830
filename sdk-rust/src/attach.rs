//! Finding the daemon: its socket or its url, the token that it knows, and a link to it.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::FRAME_BYTES_MAX;

use crate::link::{Link, Stream};

/// Where the daemon listens, relative to its directory.
const SOCKET: &str = ".trunkline/trunkline.sock";
/// Where the daemon writes the token of local clients.
const TOKEN_FILE: &str = ".trunkline/token";

/// How to reach the daemon; what is not said comes from the environment, then from the defaults.
#[derive(Clone, Default)]
pub(crate) struct Address {
    pub(crate) socket: Option<PathBuf>,
    pub(crate) url: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    /// Opens sockets in another way, for brokers that live in this process.
    pub(crate) dialer: Option<Dialer>,
}

/// Opens a socket to the broker.
pub(crate) type Dialer = Arc<
    dyn Fn() -> Pin<Box<dyn Future<Output = std::io::Result<UnixStream>> + Send>> + Send + Sync,
>;

impl Address {
    /// Finds what contradicts itself.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(url) = &self.url {
            crate::websocket::check(url)?;
            if self.socket.is_some() {
                let text = format!("expected a socket or a url, found both, the url {url:?}");
                return Err(Error::new(Code::InvalidArguments, text));
            }
        }
        Ok(())
    }

    /// The daemon's url, where it is not reached by its socket. What was said in the program goes
    /// before the environment.
    fn url(&self) -> Option<String> {
        let said = self.url.clone();
        said.or_else(|| match self.socket {
            Some(_) => None,
            None => std::env::var("TRUNKLINE_URL").ok(),
        })
    }

    fn path(&self) -> PathBuf {
        let named = || std::env::var_os("TRUNKLINE_SOCKET").map(PathBuf::from);
        self.socket
            .clone()
            .or_else(named)
            .unwrap_or_else(|| SOCKET.into())
    }

    /// Gives the token; none is an answer too, since a socket may vouch for who connects.
    pub(crate) fn token(&self) -> Result<Option<String>, Error> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        if let Ok(token) = std::env::var("TRUNKLINE_TOKEN") {
            return Ok(Some(token));
        }
        let named = || std::env::var_os("TRUNKLINE_TOKEN_FILE").map(PathBuf::from);
        if let Some(path) = self.token_file.clone().or_else(named) {
            return read(&path)
                .map(Some)
                .map_err(|error| unreadable(&path, &error));
        }
        // A token that belongs to this machine is not shown to another one.
        if self.url().is_some() && self.dialer.is_none() {
            return Ok(None);
        }
        // Beside the socket first: a socket that was named brings its token along.
        let beside = self.path().with_file_name("token");
        for path in [beside.as_path(), Path::new(TOKEN_FILE)] {
            match read(path) {
                Ok(token) => return Ok(Some(token)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(path, &error)),
            }
        }
        Ok(None)
    }

    /// Opens a link.
    pub(crate) async fn open(&self) -> Result<Arc<Link>, Error> {
        if let Some(url) = self.url().filter(|_| self.dialer.is_none()) {
            let socket = crate::websocket::connect(&url, self.token()?.as_deref()).await?;
            let stream = Stream::socket(socket).map_err(|error| {
                Error::new(Code::Unavailable, format!("a link cannot be made: {error}"))
            })?;
            let link = Link::new(stream, FRAME_BYTES_MAX);
            link.set_origin(crate::websocket::origin(&url));
            return Ok(link);
        }
        let path = self.path();
        let opened = async {
            let socket = match &self.dialer {
                Some(dial) => dial().await?,
                None => tokio::net::UnixStream::connect(&path).await?.into_std()?,
            };
            Stream::socket(socket)
        };
        match opened.await {
            Ok(stream) => Ok(Link::new(stream, FRAME_BYTES_MAX)),
            Err(error) => {
                let text = format!(
                    "expected a daemon at {}: {error}\nhint: start one with `trunkline up`, or \
                     set TRUNKLINE_SOCKET",
                    path.display()
                );
                Err(Error::new(Code::Unavailable, text))
            }
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path).map(|token| token.trim().to_owned())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let text = format!(
        "expected a readable token file at {}: {error}",
        path.display()
    );
    Error::new(Code::Unauthorized, text)
}
