//! The task that drives a link: read, hand over, write, wait.
//!
//! One turn reads what is there, gives it to the owner, and ends with one write of all that the
//! turn and the tasks before it had to say.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;
use trunkline_contract::error::{Code, Error};

use super::guard;
use super::state::{Link, Pumped};
use super::traffic::Inbound;

/// A day, for a timer that nobody needs yet.
const FAR: Duration = Duration::from_hours(24);

/// Drives the link until it ends, giving what arrives to `sink`. Gives the reason of the end.
///
/// Cancel safety: dropping the future leaves the link open, with nobody to drive it.
pub(crate) async fn drive(link: &Arc<Link>, mut sink: impl FnMut(Inbound)) -> Error {
    let _watched = guard::watch(link);
    let readable = match watch_fd(link.stream().read_fd(), Interest::READABLE) {
        Ok(readable) => readable,
        Err(error) => {
            link.close(error);
            return link.closed().expect("just closed");
        }
    };
    let mut writable: Option<AsyncFd<OwnedFd>> = None;
    let mut arrived = VecDeque::new();
    let mut may_read = true;
    let timer = tokio::time::sleep(FAR);
    tokio::pin!(timer);
    loop {
        link.turns.fetch_add(1, Ordering::Relaxed);
        let pumped = link.pump(may_read, link.lag_ms());
        link.take_inbound(&mut arrived);
        link.flush_control();
        for inbound in arrived.drain(..) {
            match inbound {
                Inbound::Answer(answer) => link.give_answer(answer),
                inbound => sink(inbound),
            }
        }
        let due = link.extend_due(Instant::now());
        link.flush();
        if let Some(error) = link.closed() {
            return error;
        }
        if pumped == Pumped::More {
            tokio::task::yield_now().await;
            continue;
        }
        may_read = false;
        if let Some(due) = due
            && due < timer.deadline()
        {
            timer.as_mut().reset(due);
        }
        // Interest in writing lasts only while the stream is full: a socket that is always watched
        // for it wakes its owner at every frame that the other side reads.
        if !link.wants_write() {
            writable = None;
        } else if writable.is_none() {
            match watch_fd(link.stream().write_fd(), Interest::WRITABLE) {
                Ok(watched) => writable = Some(watched),
                Err(error) => {
                    link.close(error);
                    continue;
                }
            }
        }
        tokio::select! {
            ready = readable.readable() => if let Ok(mut ready) = ready {
                // The turn that follows reads everything, so the readiness is used up.
                ready.clear_ready();
                may_read = true;
            },
            () = link.woken() => {}
            () = until_writable(writable.as_ref()) => {}
            () = timer.as_mut() => timer.as_mut().reset(Instant::now() + FAR),
        }
    }
}

/// Watches a copy of the descriptor, so that reading and writing are registered apart.
#[expect(
    unsafe_code,
    reason = "the safe constructors are deprecated as unsound"
)]
fn watch_fd(fd: BorrowedFd<'_>, interest: Interest) -> Result<AsyncFd<OwnedFd>, Error> {
    // SAFETY: an `OwnedFd` gives the same open descriptor until it is dropped, and the watcher owns
    // it until then.
    let watch = |fd| Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?);
    fd.try_clone_to_owned().and_then(watch).map_err(|error| {
        let text = format!("expected a link that can be waited for (socket or pipe): {error}");
        Error::new(Code::LinkLost, text)
    })
}

async fn until_writable(writable: Option<&AsyncFd<OwnedFd>>) {
    match writable {
        None => std::future::pending().await,
        Some(writable) => {
            if let Ok(mut ready) = writable.writable().await {
                ready.clear_ready();
            }
        }
    }
}
