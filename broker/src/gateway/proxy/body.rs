//! Both bodies on their way: streamed, with back pressure, and with an eye on the clock.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::connect::KeptOpen;

/// Whom the body of a request waits for, or why it ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Upload {
    /// The server: it has what there was.
    Moving,
    /// Whoever asked.
    Waiting,
    /// Whoever asked was silent for too long.
    TimedOut,
    /// Whoever asked broke off.
    Broken,
}

/// What the body of a request tells about itself.
#[derive(Debug, Default)]
pub(super) struct Progress {
    upload: AtomicU8,
    frames: AtomicU64,
}

impl Progress {
    pub(super) fn upload(&self) -> Upload {
        match self.upload.load(Ordering::Acquire) {
            0 => Upload::Moving,
            1 => Upload::Waiting,
            2 => Upload::TimedOut,
            _ => Upload::Broken,
        }
    }

    fn set(&self, upload: Upload) {
        self.upload.store(upload as u8, Ordering::Release);
    }

    /// Returns once the server has left the head of its answer open for `limit`, counted from what it was
    /// sent last. While whoever asked is late, it does not count.
    ///
    /// # Cancel safety
    /// May be cancelled; a new call counts anew.
    pub(super) async fn overdue(&self, limit: Duration) {
        let mut seen = self.frames.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(limit).await;
            let frames = self.frames.load(Ordering::Relaxed);
            if frames == seen && self.upload() != Upload::Waiting {
                return;
            }
            seen = frames;
        }
    }
}

/// The body of a request: given up when whoever sends it is silent for too long.
pub(super) struct Uploaded {
    body: Body,
    progress: Arc<Progress>,
    limit: Duration,
    /// Runs while whoever asked is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Uploaded {
    pub(super) fn new(body: Body, progress: Arc<Progress>, limit: Duration) -> Self {
        Self {
            body,
            progress,
            limit,
            timer: None,
        }
    }
}

impl hyper::body::Body for Uploaded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.timer = None;
            this.progress.frames.fetch_add(1, Ordering::Relaxed);
            let is_broken = matches!(frame, Some(Err(_)));
            this.progress.set(if is_broken {
                Upload::Broken
            } else {
                Upload::Moving
            });
            return Poll::Ready(frame);
        }
        this.progress.set(Upload::Waiting);
        let limit = this.limit;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        this.progress.set(Upload::TimedOut);
        let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
        Poll::Ready(Some(Err(axum::Error::new(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, with what it needs as long as it lasts.
pub(super) struct Downloaded {
    body: Incoming,
    _held: (KeptOpen, OwnedSemaphorePermit),
}

impl Downloaded {
    pub(super) fn new(body: Incoming, held: KeptOpen, permit: OwnedSemaphorePermit) -> Self {
        Self {
            body,
            _held: (held, permit),
        }
    }
}

impl hyper::body::Body for Downloaded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn uploaded(body: Body) -> (Uploaded, Arc<Progress>) {
        let progress = Arc::new(Progress::default());
        let body = Uploaded::new(body, progress.clone(), Duration::from_millis(5));
        (body, progress)
    }

    #[tokio::test]
    async fn a_sender_that_falls_silent_is_given_up_and_blamed() {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let (body, progress) = uploaded(Body::from_stream(never));
        assert!(body.collect().await.is_err());
        assert_eq!(progress.upload(), Upload::TimedOut);
    }

    #[tokio::test]
    async fn a_sender_that_breaks_off_is_blamed() {
        let parts = [Ok("a"), Err(std::io::Error::other("gone"))];
        let (body, progress) = uploaded(Body::from_stream(futures_util::stream::iter(parts)));
        assert!(body.collect().await.is_err());
        assert_eq!(progress.upload(), Upload::Broken);
    }

    #[tokio::test]
    async fn a_server_is_overdue_only_while_it_is_its_turn() {
        let limit = Duration::from_millis(1);
        let progress = Progress::default();
        progress.overdue(limit).await;
        progress.set(Upload::Waiting);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), progress.overdue(limit))
                .await
                .is_err()
        );
    }
}
