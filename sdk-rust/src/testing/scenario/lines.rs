//! A server of lines that a scenario plays: one connection at a time, each read waits for what it
//! wants in real time.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use trunkline_contract::error::{Code, Error};

/// The longest real wait for a connection or a line.
const PATIENCE: Duration = Duration::from_secs(20);
/// Lines that are read while one is waited for.
const LINES_MAX: usize = 1_000;

/// The server, and its connection if there is one.
pub(super) struct Server {
    listener: TcpListener,
    open: Option<(Lines<BufReader<OwnedReadHalf>>, OwnedWriteHalf)>,
}

impl Server {
    /// Listens; gives the server and its address.
    pub(super) async fn start() -> Result<(Self, String), Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let server = Self {
            listener,
            open: None,
        };
        Ok((server, format!("tcp://127.0.0.1:{port}")))
    }

    /// Waits for a connection.
    pub(super) async fn accept(&mut self) -> Result<(), Error> {
        let accepted = in_time("a connection", self.listener.accept()).await?;
        let (stream, _): (TcpStream, _) = accepted.map_err(failed)?;
        let (read, write) = stream.into_split();
        self.open = Some((BufReader::new(read).lines(), write));
        Ok(())
    }

    /// Says a line.
    pub(super) async fn say(&mut self, line: &str) -> Result<(), Error> {
        let (_, write) = self.connection()?;
        let line = format!("{line}\n");
        write.write_all(line.as_bytes()).await.map_err(failed)
    }

    /// Reads until this line comes; gives all that were read.
    pub(super) async fn hear(&mut self, wanted: &str) -> Result<Vec<String>, Error> {
        let (lines, _) = self.connection()?;
        let mut heard = Vec::new();
        while heard.len() < LINES_MAX {
            let line = in_time(wanted, lines.next_line()).await?.map_err(failed)?;
            let Some(line) = line else { break };
            let is_it = line == wanted;
            heard.push(line);
            if is_it {
                return Ok(heard);
            }
        }
        Err(missed(&format!(
            "expected the line {wanted:?}, heard {heard:?}"
        )))
    }

    /// Drops the connection.
    pub(super) fn hang_up(&mut self) {
        self.open = None;
    }

    fn connection(
        &mut self,
    ) -> Result<&mut (Lines<BufReader<OwnedReadHalf>>, OwnedWriteHalf), Error> {
        let missing = || missed("expected an accepted connection, found none");
        self.open.as_mut().ok_or_else(missing)
    }
}

async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> Result<T, Error> {
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.map_err(|_| missed(&format!("expected {what:?} within {PATIENCE:?}")))
}

fn missed(text: &str) -> Error {
    Error::new(Code::Internal, text)
}

fn failed(error: std::io::Error) -> Error {
    missed(&format!("the server of lines: {error}"))
}
