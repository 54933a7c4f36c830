//! The tasks of one link: read and apply frames; write when there is room again.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use tokio::sync::Notify;
use trunkline_contract::frame::{Decoder, Frame};

use crate::core::{Flow, LinkKind};
use crate::router::LinkId;

use super::core_thread::Hub;
use super::io::LinkIo;

/// Bytes asked for in one read.
const READ_BYTES: usize = 64 << 10;
/// How long a link that is being closed may take to write what waits.
const CLOSE_TIMEOUT_MS: u64 = 2_000;

/// One link of the core thread.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    io: LinkIo,
    /// The kernel's buffer is full: the writer task waits for room.
    pub(crate) blocked: Cell<bool>,
    want_write: Notify,
    pub(crate) resume: Notify,
    closing: Cell<bool>,
    ended: Notify,
    finished: Notify,
    decoder: RefCell<Decoder>,
}

impl Link {
    /// Admits a stream and starts its tasks.
    pub(crate) fn start(hub: &Rc<Hub>, io: LinkIo, kind: LinkKind) {
        let mut core = hub.core.borrow_mut();
        core.set_now(hub.clock.now());
        let id = match core.attach(kind) {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(%error, "Link refused.");
                return;
            }
        };
        let decoder = RefCell::new(Decoder::new(core.frame_bytes_max()));
        drop(core);
        let link = Rc::new(Self {
            id,
            io,
            blocked: Cell::new(false),
            want_write: Notify::new(),
            resume: Notify::new(),
            closing: Cell::new(false),
            ended: Notify::new(),
            finished: Notify::new(),
            decoder,
        });
        hub.links.borrow_mut().insert(id, link.clone());
        tokio::task::spawn_local(link.clone().read_loop(hub.clone()));
        tokio::task::spawn_local(link.write_loop(hub.clone()));
        hub.kick();
    }

    async fn read_loop(self: Rc<Self>, hub: Rc<Hub>) {
        tokio::select! {
            () = self.read_all(&hub) => {}
            () = self.ended.notified() => {}
        }
        self.finish(&hub);
    }

    async fn read_all(&self, hub: &Rc<Hub>) {
        loop {
            if self.io.readable().await.is_err() {
                return;
            }
            loop {
                match self.fill() {
                    Ok(0) => {
                        self.apply(hub).await;
                        self.last_frame(hub);
                        return;
                    }
                    Ok(_) => {
                        if !self.apply(hub).await {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
                // Others are ready too; a busy link takes turns with them.
                tokio::task::yield_now().await;
            }
        }
    }

    fn fill(&self) -> io::Result<usize> {
        let mut decoder = self.decoder.borrow_mut();
        let count = self.io.try_read(decoder.spare(READ_BYTES))?;
        decoder.filled(count);
        Ok(count)
    }

    /// Applies every whole frame. False when the link is over.
    async fn apply(&self, hub: &Rc<Hub>) -> bool {
        loop {
            match self.apply_some(hub) {
                Applied::All => return true,
                Applied::Over => return false,
                Applied::Full => hub.room.notified().await,
                Applied::Paused => self.resume.notified().await,
            }
        }
    }

    fn apply_some(&self, hub: &Rc<Hub>) -> Applied {
        let mut core = hub.core.borrow_mut();
        let mut decoder = self.decoder.borrow_mut();
        core.set_now(hub.clock.now());
        hub.kick();
        loop {
            if core.is_full() || hub.has_many_reads() {
                return Applied::Full;
            }
            let flow = match decoder.next_frame() {
                None => return Applied::All,
                Some(Frame::Complete(frame)) => core.frame(self.id, frame),
                Some(Frame::TooLarge { bytes, .. }) => core.frame_too_large(self.id, bytes),
            };
            match flow {
                Flow::Continue => {}
                Flow::Pause => return Applied::Paused,
                Flow::Close => return Applied::Over,
            }
        }
    }

    /// A last frame without its newline still counts.
    fn last_frame(&self, hub: &Rc<Hub>) {
        let mut core = hub.core.borrow_mut();
        if let Some(Frame::Complete(frame)) = self.decoder.borrow_mut().finish()
            && core.frame(self.id, frame) == Flow::Close
        {
            tracing::debug!(link = self.id.0, "Link was closed by its last frame.");
        }
        hub.kick();
    }

    async fn write_loop(self: Rc<Self>, hub: Rc<Hub>) {
        loop {
            self.want_write.notified().await;
            if self.closing.get() && !hub.links.borrow().contains_key(&self.id) {
                return;
            }
            tokio::select! {
                writable = self.io.writable() => {
                    if writable.is_err() {
                        self.end();
                        return;
                    }
                }
                // A peer that never reads must not keep the stream open.
                () = self.finished.notified() => return,
            }
            self.blocked.set(false);
            hub.flush(&self);
            hub.kick();
        }
    }

    /// Writes what the kernel takes.
    pub(crate) fn flush(&self, outbox: &mut crate::core::Outbox) {
        while !self.blocked.get() {
            let bytes = outbox.unwritten();
            if bytes.is_empty() {
                if self.closing.get() {
                    self.end();
                }
                return;
            }
            match self.io.try_write(bytes) {
                Ok(count) => outbox.written(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked.set(true);
                    self.want_write.notify_one();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // The reader sees the end of the stream as well; what was not written is not lost: its
                    // leases return.
                    self.blocked.set(true);
                    self.end();
                }
            }
        }
    }

    /// Ends the link as soon as everything is written.
    pub(crate) fn close(self: &Rc<Self>, hub: &Rc<Hub>) {
        if self.closing.replace(true) {
            return;
        }
        hub.flush(self);
        // Held weakly: the stream is closed as soon as everything is written.
        let link = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(std::time::Duration::from_millis(CLOSE_TIMEOUT_MS)).await;
            if let Some(link) = link.upgrade() {
                link.end();
            }
        });
    }

    fn end(&self) {
        self.ended.notify_one();
    }

    fn finish(&self, hub: &Rc<Hub>) {
        self.closing.set(true);
        hub.links.borrow_mut().remove(&self.id);
        self.want_write.notify_one();
        self.finished.notify_one();
        let mut core = hub.core.borrow_mut();
        core.set_now(hub.clock.now());
        core.detach(self.id);
        hub.kick();
    }
}

enum Applied {
    All,
    Full,
    Paused,
    Over,
}
