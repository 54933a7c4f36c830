//! A connection to a plugin's server.

use std::io;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use crate::supervisor::ServerAddress;

/// A connection that serves one request; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Body>,
    held: KeptOpen,
}

/// Keeps a connection open as long as it is held.
#[derive(Debug)]
pub(super) struct KeptOpen(JoinHandle<()>);

impl Drop for KeptOpen {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects; whoever listens need not have accepted yet.
    ///
    /// # Errors
    /// `WouldBlock` when too many wait already; else nobody listens.
    pub(super) async fn open(address: &ServerAddress) -> io::Result<Self> {
        match address {
            ServerAddress::Unix(path) => Self::over(UnixStream::connect(path).await?).await,
            ServerAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Self::over(stream).await
            }
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "Connection to a plugin's server ended.");
            }
        });
        Ok(Self {
            sender,
            held: KeptOpen(driver),
        })
    }

    /// Sends the request and waits for the head of the answer; its body needs what keeps the connection.
    pub(super) async fn send(
        mut self,
        request: Request<Body>,
    ) -> hyper::Result<(Response<Incoming>, KeptOpen)> {
        let answer = self.sender.send_request(request).await?;
        Ok((answer, self.held))
    }
}
