//! One link to the core, as frames: the end of a socket pair that a peer would hold.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::frame::{Decoder, Frame};
use trunkline_contract::limits::FRAME_BYTES_MAX_MAX;
use trunkline_contract::rpc::{self, Message, method};

use super::auth::Token;
use crate::core::LinkKind;
use crate::runtime::{Broker, Connection};

/// Bytes asked for in one read.
const READ_BYTES: usize = 64 << 10;

/// Opens a link and gives the peer's end of it.
///
/// # Errors
/// `unavailable` when the broker has ended or descriptors are used up.
pub(super) async fn open(broker: &Broker) -> Result<UnixStream, Error> {
    let pair = || {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((UnixStream::from_std(ours)?, theirs))
    };
    let (ours, theirs) = pair().map_err(|error: io::Error| {
        Error::new(Code::Unavailable, format!("no link can be made: {error}"))
    })?;
    broker
        .attach(Connection::Socket(theirs), LinkKind::Remote)
        .await?;
    Ok(ours)
}

/// Cuts what the core writes into frames.
#[derive(Debug)]
pub struct FrameReader {
    stream: OwnedReadHalf,
    decoder: Decoder,
}

impl FrameReader {
    /// Reads from this half.
    pub fn new(stream: OwnedReadHalf) -> Self {
        Self {
            stream,
            decoder: Decoder::new(FRAME_BYTES_MAX_MAX),
        }
    }

    /// Gives the next frame; none when the link has ended.
    ///
    /// # Cancel safety
    /// May be cancelled and called again: nothing is lost.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.decoder.next_frame() {
                Some(Frame::Complete(frame)) => return Some(frame.to_vec()),
                Some(Frame::TooLarge { bytes, .. }) => {
                    tracing::error!(bytes, "The core wrote a frame that no link takes.");
                }
                None => match self.stream.read(self.decoder.spare(READ_BYTES)).await {
                    Ok(0) | Err(_) => return None,
                    Ok(count) => self.decoder.filled(count),
                },
            }
        }
    }
}

/// A link on which `connect` was answered.
#[derive(Debug)]
pub struct Line {
    /// What the core writes.
    pub reader: FrameReader,
    /// What the core reads.
    pub writer: OwnedWriteHalf,
    /// What the core said of the caller.
    pub connected: rpc::ConnectResult,
}

impl Line {
    /// Opens a link as the client that a token names.
    ///
    /// # Errors
    /// `unauthorized` when the core does not know the token, `unavailable` when it has ended.
    pub async fn connect(broker: &Broker, token: &Token) -> Result<Self, Error> {
        Self::on(open(broker).await?, token).await
    }

    /// Takes a stream to the broker as the client that a token names.
    ///
    /// # Errors
    /// `unauthorized` when the core does not know the token, `link_lost` when it has ended.
    pub async fn on(stream: UnixStream, token: &Token) -> Result<Self, Error> {
        let (read, mut writer) = stream.into_split();
        let mut reader = FrameReader::new(read);
        let params = rpc::ConnectParams {
            role: rpc::Role::Client,
            token: Some(token.expose().to_owned()),
            name: None,
            manifest: None,
            instance: None,
            protocol: rpc::ProtocolRange::ours(),
        };
        let mut frame = Vec::new();
        rpc::write_request(&mut frame, 0, method::CONNECT, &params);
        writer.write_all(&frame).await.map_err(|_| lost())?;
        let answer = reader.next().await.ok_or_else(lost)?;
        let connected = read_answer(&answer)?;
        Ok(Self {
            reader,
            writer,
            connected,
        })
    }

    /// Asks one thing before anything else is under way.
    ///
    /// # Errors
    /// What the core refuses it with; `link_lost` when the link ends.
    pub async fn ask<P: serde::Serialize, R: serde::de::DeserializeOwned>(
        &mut self,
        method: &str,
        params: &P,
    ) -> Result<R, Error> {
        let mut frame = Vec::new();
        rpc::write_request(&mut frame, 1, method, params);
        self.writer.write_all(&frame).await.map_err(|_| lost())?;
        loop {
            let answer = self.reader.next().await.ok_or_else(lost)?;
            if matches!(rpc::parse(&answer), Ok(Message::Response { .. })) {
                return read_answer(&answer);
            }
        }
    }
}

fn read_answer<R: serde::de::DeserializeOwned>(frame: &[u8]) -> Result<R, Error> {
    let result: &RawValue = match rpc::parse(frame) {
        Ok(Message::Response { result, .. }) => result.map_err(|error| Error::from_rpc(&error))?,
        _ => return Err(Error::new(Code::Internal, "expected an answer of the core")),
    };
    serde_json::from_str(result.get())
        .map_err(|error| Error::new(Code::Internal, format!("the core's answer: {error}")))
}

/// The link ended before an answer came.
pub(super) fn lost() -> Error {
    Error::new(
        Code::LinkLost,
        "the link to the core ended before the answer came",
    )
}
