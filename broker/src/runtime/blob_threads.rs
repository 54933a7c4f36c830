//! The two threads that work on the files of blobs: one reads whole contents, the other does what is quick.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tokio::sync::mpsc;

use crate::core::{BlobFiles, BlobRequest};
use crate::store::Failed;

use super::core_thread::Message;

/// Pieces of work given to one thread at once; more wait with the core thread.
const WORK_MAX: usize = 64;

/// The core thread's ends of the channels.
pub(crate) struct BlobThreads {
    pub(crate) quick: SyncSender<BlobRequest>,
    pub(crate) long: SyncSender<BlobRequest>,
}

/// Starts both threads. They end when their senders are dropped.
pub(crate) fn start(
    [quick, long]: [Box<dyn BlobFiles>; 2],
    answers: mpsc::Sender<Message>,
) -> std::io::Result<BlobThreads> {
    let run = |name: &str, mut files: Box<dyn BlobFiles>, answers: mpsc::Sender<Message>| {
        let (sender, queue) = sync_channel(WORK_MAX);
        thread::Builder::new()
            .name(name.into())
            .spawn(move || work(&mut *files, &queue, &answers))
            .map(|_| sender)
    };
    Ok(BlobThreads {
        quick: run("blob-files", quick, answers.clone())?,
        long: run("blob-check", long, answers)?,
    })
}

fn work(files: &mut dyn BlobFiles, queue: &Receiver<BlobRequest>, answers: &mpsc::Sender<Message>) {
    let _guard = PanicGuard(answers);
    while let Ok(request) = queue.recv() {
        let answer = request.answer(files);
        if answers
            .blocking_send(Message::BlobDone(Box::new(answer)))
            .is_err()
        {
            return;
        }
    }
}

/// Reports a panic as a failure of the broker: nothing may seem alive that answers no more.
struct PanicGuard<'a>(&'a mpsc::Sender<Message>);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let reason = "a thread of the blobs panicked".to_owned();
        if self
            .0
            .blocking_send(Message::Failed(Failed { reason }))
            .is_err()
        {
            tracing::error!("A thread of the blobs panicked while the broker was ending.");
        }
    }
}
