//! Frames over TCP or TLS: a line is a frame.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use trunkline_contract::error::{Code, Error};

use super::declare::Form;
use super::form::{Received, decode};
use super::socket::{Gone, Heard, Line, Say, Teller};
use super::stream::{Address, Stream};

/// The longest line; a longer one ends the connection.
const LINE_BYTES_MAX: usize = 1024 * 1024;

pub(super) async fn live(address: &Address, line: Line) -> Result<Gone, Gone> {
    let stream = address.open().await?;
    let teller = line.teller();
    if !teller.tell(Heard::Opened).await {
        return Ok(Gone::because("closed here"));
    }
    let (reader, writer) = tokio::io::split(stream);
    let reading = read(reader, line.form, teller.clone());
    let writing = write(writer, teller, line);
    tokio::pin!(reading, writing);
    Ok(tokio::select! {
        gone = &mut reading => gone,
        gone = &mut writing => gone,
    })
}

async fn read(reader: ReadHalf<Stream>, form: Form, teller: Teller) -> Gone {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        teller.room().await;
        line.clear();
        let most = LINE_BYTES_MAX as u64 + 2;
        match (&mut reader).take(most).read_until(b'\n', &mut line).await {
            Ok(0) => return Gone::because("closed by the server"),
            Ok(_) => {}
            Err(error) => return Gone::because(error.to_string()),
        }
        if line.last() != Some(&b'\n') {
            let text = if line.len() > LINE_BYTES_MAX {
                format!("expected lines of at most {LINE_BYTES_MAX} bytes, found a longer one")
            } else {
                "closed by the server within a line".to_owned()
            };
            return Gone::because(text);
        }
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let frame = Heard::Frame(Received::of(decode(form, &line)));
        if !teller.tell(frame).await {
            return Gone::because("closed here");
        }
    }
}

async fn write(mut writer: WriteHalf<Stream>, teller: Teller, mut line: Line) -> Gone {
    while let Some(say) = line.say.recv().await {
        let (result, done) = match say {
            Say::Frame(mut bytes, done) => {
                if let Err(error) = checked(&bytes) {
                    if let Some(done) = done {
                        drop(done.send(Err(error)));
                        teller.tell(Heard::Sent).await;
                    }
                    continue;
                }
                bytes.extend_from_slice(if line.form == Form::Json {
                    b"\n"
                } else {
                    b"\r\n"
                });
                let written = writer.write_all(&bytes).await;
                (
                    written.map_err(|error| Error::new(Code::Unavailable, error.to_string())),
                    done,
                )
            }
            Say::Close(..) => {
                let closed = writer.shutdown().await;
                (
                    closed.map_err(|error| Error::new(Code::Unavailable, error.to_string())),
                    None,
                )
            }
            // Lines have no sign of life below them.
            Say::Ping | Say::Flush => continue,
        };
        let broken = result
            .as_ref()
            .err()
            .filter(|error| error.code == Code::Unavailable);
        let broken = broken.map(|error| error.message.clone());
        if let Some(done) = done {
            // Who waited may be gone.
            drop(done.send(result));
            teller.tell(Heard::Sent).await;
        }
        if let Some(reason) = broken {
            return Gone::because(reason);
        }
    }
    Gone::because("closed here")
}

/// Says what a line cannot hold.
pub(super) fn checked(bytes: &[u8]) -> Result<(), Error> {
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        let text = "expected one line, found a line break in it";
        return Err(Error::new(Code::InvalidPayload, text));
    }
    Ok(())
}
