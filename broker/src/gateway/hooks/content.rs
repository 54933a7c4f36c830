//! The body of a webhook, read within its bounds: its own size and time, and the room that all bodies have
//! together.
//!
//! Room is taken for what has arrived, not for what was announced: who sends slowly holds little of it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trunkline_contract::error::{Code, Error};

use crate::gateway::error::Failure;
use crate::gateway::limits::HOOK_RETRY_MS;

/// The room that a body takes, given back when dropped.
pub(super) type Room = Option<OwnedSemaphorePermit>;

/// Reads a whole body. `all` is the room of all bodies, in KiB.
///
/// # Errors
/// 413 when it is over `limit` bytes, 408 when it takes longer than `timeout`, 503 when there is no room, 400 when
/// it breaks off.
pub(super) async fn read(
    body: Body,
    limit: usize,
    timeout: Duration,
    all: &Arc<Semaphore>,
) -> Result<(Vec<u8>, Room), Failure> {
    if hyper::body::Body::size_hint(&body).lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let whole = collect(body, limit, all);
    let whole = tokio::time::timeout(timeout, whole).await;
    whole.unwrap_or_else(|_| {
        let text = format!("expected the whole body within {timeout:?}");
        Err(Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            Code::TimedOut,
            text,
        ))
    })
}

async fn collect(
    mut body: Body,
    limit: usize,
    all: &Arc<Semaphore>,
) -> Result<(Vec<u8>, Room), Failure> {
    let mut content = Vec::new();
    let mut room: Room = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            let text = "the body broke off before its end";
            Failure::new(StatusCode::BAD_REQUEST, Code::InvalidFrame, text)
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if content.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        content.extend_from_slice(&data);
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needed = content.len().div_ceil(1024).saturating_sub(held);
        if needed == 0 {
            continue;
        }
        let more = all.clone().try_acquire_many_owned(needed as u32);
        let more = more.map_err(|_| {
            let error = Error::new(Code::Unavailable, "too many webhooks are under way");
            Failure::from(error.retry_after(HOOK_RETRY_MS))
        })?;
        match &mut room {
            Some(room) => room.merge(more),
            None => room = Some(more),
        }
    }
    Ok((content, room))
}

fn too_large(limit: usize) -> Failure {
    let text = format!("expected a body of at most {limit} bytes, found more");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Code::FrameTooLarge, text)
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn bodies_share_the_room_that_there_is() {
        let all = Arc::new(Semaphore::new(4));
        let read = |bytes: usize| {
            let body = Body::from(vec![0; bytes]);
            read(body, 1 << 20, LIMIT, &all)
        };
        let (first, room) = read(3000).await.unwrap();
        assert_eq!((first.len(), all.available_permits()), (3000, 1));
        assert_eq!(read(1025).await.unwrap_err().status(), 503);
        assert!(read(1024).await.is_ok());
        drop(room);
        assert!(read(4096).await.is_ok());
    }

    #[tokio::test]
    async fn who_sends_slowly_holds_little_room() {
        let all = Arc::new(Semaphore::new(4));
        let begin = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("ab"))]);
        let never = futures_util::stream::pending();
        let body = Body::from_stream(futures_util::StreamExt::chain(begin, never));
        let failure = read(body, 1 << 20, Duration::from_millis(5), &all).await;
        assert_eq!(failure.unwrap_err().status(), 408);
        assert_eq!(all.available_permits(), 4);
    }

    #[tokio::test]
    async fn a_body_in_chunks_is_cut_at_its_limit() {
        let all = Arc::new(Semaphore::new(4));
        let parts = futures_util::stream::iter([Ok::<_, std::io::Error>("ab"), Ok("cd")]);
        let failure = read(Body::from_stream(parts), 3, LIMIT, &all).await;
        assert_eq!(failure.unwrap_err().status(), 413);
        let failure = read(Body::from("abcd"), 3, LIMIT, &all).await;
        assert_eq!(failure.unwrap_err().status(), 413);
    }
}
