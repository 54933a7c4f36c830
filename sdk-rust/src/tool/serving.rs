//! A call while it is served: whose answer it is, and how much of its stream the caller takes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{ToolCallParamsRef, ToolChunkParamsRef, method};

use crate::hub::Stop;
use crate::incoming::Incoming;
use crate::link::{Link, Request};
use crate::payload::Bytes;

/// One call that is served.
pub(crate) struct Serving {
    request: Request,
    pub(crate) call_id: Box<str>,
    pub(crate) tool: Box<str>,
    pub(crate) caller: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) is_streaming: bool,
    /// The caller takes chunks; else they are kept for the end.
    takes_chunks: bool,
    stream: Mutex<Stream>,
    credited: Notify,
}

#[derive(Default)]
struct Stream {
    /// What the window has left; the last chunk may go beyond it.
    left: i64,
    seq: u64,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    is_over: bool,
}

impl Serving {
    /// Reads a call; gives with it what its handler gets, in the form of an event.
    pub(crate) fn read(request: Request) -> Result<(Self, Incoming), (Request, Error)> {
        let params: ToolCallParamsRef<'_> = match serde_json::from_str(&request.params) {
            Ok(params) => params,
            Err(error) => {
                let error = Error::new(Code::InvalidArguments, error.to_string());
                return Err((request, error));
            }
        };
        let context = &params.context;
        // What is said while it runs takes its ids from the key: said again, it is said once.
        let id = context.idempotency_key.as_deref();
        let topic = format!("plugin.tool.{}", params.tool);
        let head = json!({
            "id": id.unwrap_or(&params.call_id),
            "topic": topic,
            "source": context.caller.as_deref().unwrap_or_default(),
            "session_id": context.session_id,
            "traceparent": context.traceparent,
        });
        let mut envelope = head.to_string();
        // The arguments go in as they are: no number of them passes through a double.
        envelope.pop();
        envelope.push_str(",\"payload\":");
        envelope.push_str(params.arguments.map_or("{}", RawValue::get));
        envelope.push('}');
        let read = Incoming::parse(&topic, &envelope, None);
        let serving = Self {
            call_id: params.call_id.as_ref().into(),
            tool: params.tool.as_ref().into(),
            caller: context.caller.clone(),
            idempotency_key: context.idempotency_key.clone(),
            timeout: context.timeout_ms.map(Duration::from_millis),
            is_streaming: false,
            takes_chunks: params.window_bytes > 0,
            stream: Mutex::new(Stream {
                left: i64::try_from(params.window_bytes).unwrap_or(i64::MAX),
                ..Stream::default()
            }),
            credited: Notify::new(),
            request,
        };
        match read {
            Ok(mut incoming) => {
                incoming.set_wide(serving.request.is_wide);
                Ok((serving, incoming))
            }
            Err(error) => Err((serving.request, error)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the window by so many bytes.
    pub(crate) fn credit(&self, bytes: u64) {
        let mut stream = self.lock();
        stream.left = stream.left.saturating_add_unsigned(bytes);
        drop(stream);
        self.credited.notify_waiters();
    }

    /// Sends a chunk, waiting while the window is used up.
    pub(crate) async fn chunk(&self, link: &Link, data: Bytes, end: &Stop) -> Result<(), Error> {
        if !self.is_streaming {
            let text = "this tool has one result; hint: declare it as streaming";
            return Err(Error::new(Code::InvalidArguments, text));
        }
        let most = link.frame_bytes_max();
        if data.len() + FRAME_MARGIN > most {
            return Err(too_large("a chunk", data.len(), most));
        }
        loop {
            let credited = self.credited.notified();
            tokio::pin!(credited);
            credited.as_mut().enable();
            link.has_room().await?;
            if end.is_set() {
                return Err(Error::new(Code::Cancelled, "nobody waits for the result"));
            }
            {
                let mut stream = self.lock();
                if stream.is_over {
                    return Err(Error::new(Code::StaleLease, "the call has its result"));
                }
                if !self.takes_chunks {
                    return stream.keep(data, most);
                }
                if stream.left > 0 {
                    let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
                    stream.left = stream.left.saturating_sub(length);
                    let params = ToolChunkParamsRef {
                        call_id: (&*self.call_id).into(),
                        seq: stream.seq,
                        data: data.raw(),
                    };
                    stream.seq += 1;
                    // Under the lock: chunks are written in the order of their numbers.
                    link.notify_data(method::TOOL_CHUNK, &params);
                    return Ok(());
                }
            }
            tokio::select! {
                () = credited => {}
                () = end.wait() => {}
            }
        }
    }

    /// Answers the call; what was kept of its stream is the output.
    pub(crate) fn answer(&self, link: &Link, result: Result<Bytes, Error>) {
        let (chunks, kept) = {
            let mut stream = self.lock();
            stream.is_over = true;
            (stream.seq, std::mem::take(&mut stream.kept))
        };
        let answer = result.and_then(|output| {
            if !self.is_streaming {
                return Ok(format!("{{\"output\":{}}}", output.as_str()));
            }
            if self.takes_chunks {
                return Ok(format!("{{\"chunks\":{chunks}}}"));
            }
            let output = joined(&kept)?;
            Ok(format!(
                "{{\"output\":{},\"chunks\":{chunks}}}",
                output.as_str()
            ))
        });
        let most = link.frame_bytes_max();
        let answer = match answer {
            Ok(text) if text.len() + FRAME_MARGIN > most => {
                Err(too_large("a result", text.len(), most))
            }
            answer => answer.and_then(Bytes::from_json),
        };
        link.answer_data(&self.request, answer.as_ref());
        self.credited.notify_waiters();
    }
}

/// What a frame needs beside what it carries.
const FRAME_MARGIN: usize = 1024;

impl Stream {
    /// Keeps a chunk for a caller that takes none.
    fn keep(&mut self, data: Bytes, most: usize) -> Result<(), Error> {
        self.kept_bytes += data.len();
        if self.kept_bytes + FRAME_MARGIN > most {
            return Err(too_large("a result", self.kept_bytes, most));
        }
        self.seq += 1;
        self.kept.push(data);
        Ok(())
    }
}

fn too_large(what: &str, found: usize, most: usize) -> Error {
    let text = format!(
        "expected {what} of at most {} bytes, found {found}\n\
         hint: stream it in chunks, or put it into a blob",
        most.saturating_sub(FRAME_MARGIN)
    );
    Error::new(Code::FrameTooLarge, text)
}

/// Makes one output of chunks: texts become one text, anything else an array.
pub(super) fn joined(chunks: &[Bytes]) -> Result<Bytes, Error> {
    if !chunks.is_empty() && chunks.iter().all(|chunk| chunk.as_str().starts_with('"')) {
        let mut text = String::new();
        for chunk in chunks {
            text.push_str(&chunk.json::<String>()?);
        }
        return Bytes::encode(&text);
    }
    let texts: Vec<_> = chunks.iter().map(Bytes::as_str).collect();
    Bytes::from_json(format!("[{}]", texts.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_one_text_and_anything_else_an_array() {
        let joined = |chunks: &[&str]| {
            let chunks: Vec<_> = chunks
                .iter()
                .map(|chunk| Bytes::from_json(*chunk).expect("JSON"))
                .collect();
            joined(&chunks).expect("JSON").as_str().to_owned()
        };
        assert_eq!(joined(&[r#""a\n""#, r#""b""#]), r#""a\nb""#);
        assert_eq!(
            joined(&[r#""a""#, "12345678901234567890"]),
            r#"["a",12345678901234567890]"#
        );
        assert_eq!(joined(&[]), "[]");
    }
}
