//! The store's two threads: one writes batches, one answers reads.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::core::{BatchToken, ReadRequest};
use crate::store::{Batch, Failed, Reader, Store};

use super::core_thread::Message;

/// Reads under way at once; more wait with the core.
pub(crate) const READS_MAX: usize = 256;
/// How long the writer is idle before it does housekeeping.
const IDLE: Duration = Duration::from_millis(500);

/// The core thread's ends of the channels.
pub(crate) struct StoreThreads {
    pub(crate) batches: SyncSender<(BatchToken, Batch)>,
    pub(crate) reads: SyncSender<ReadRequest>,
}

/// Starts both threads. They end when their senders are dropped.
pub(crate) fn start(
    store: Box<dyn Store>,
    reader: Box<dyn Reader>,
    clock: Arc<dyn Clock>,
    answers: mpsc::Sender<Message>,
) -> std::io::Result<(StoreThreads, thread::JoinHandle<()>)> {
    let (batches, batch_queue) = sync_channel(1);
    let (reads, read_queue) = sync_channel(READS_MAX);
    let (write_clock, write_answers) = (clock.clone(), answers.clone());
    let writer = thread::Builder::new()
        .name("store-writer".into())
        .spawn(move || write(store, &*write_clock, &batch_queue, &write_answers))?;
    thread::Builder::new()
        .name("store-reader".into())
        .spawn(move || read(reader, &*clock, &read_queue, &answers))?;
    Ok((StoreThreads { batches, reads }, writer))
}

fn write(
    mut store: Box<dyn Store>,
    clock: &dyn Clock,
    queue: &Receiver<(BatchToken, Batch)>,
    answers: &mpsc::Sender<Message>,
) {
    let _guard = PanicGuard(answers);
    let mut more = true;
    loop {
        let next = if more {
            match queue.try_recv() {
                Ok(next) => Ok(next),
                Err(std::sync::mpsc::TryRecvError::Empty) => Err(RecvTimeoutError::Timeout),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    Err(RecvTimeoutError::Disconnected)
                }
            }
        } else {
            queue.recv_timeout(IDLE)
        };
        let done = match next {
            Ok((token, batch)) => match commit(&mut store, clock, token, batch) {
                Ok(done) => {
                    more = false;
                    answers.blocking_send(done)
                }
                Err(failed) => return report(answers, failed),
            },
            Err(RecvTimeoutError::Timeout) => match store.maintain(clock.now().wall_ms) {
                Ok(again) => {
                    more = again;
                    if more {
                        Ok(())
                    } else {
                        wait(queue, &mut store, clock, answers)
                    }
                }
                Err(failed) => return report(answers, failed),
            },
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if done.is_err() {
            return;
        }
    }
}

fn commit(
    store: &mut Box<dyn Store>,
    clock: &dyn Clock,
    token: BatchToken,
    batch: Batch,
) -> Result<Message, Failed> {
    let began_us = clock.micros();
    let results = store.commit(batch)?;
    let took_us = clock.micros().saturating_sub(began_us);
    Ok(Message::BatchDone(token, results, took_us))
}

/// Nothing to do at all: sleeps until the next batch, without waking up in between.
fn wait(
    queue: &Receiver<(BatchToken, Batch)>,
    store: &mut Box<dyn Store>,
    clock: &dyn Clock,
    answers: &mpsc::Sender<Message>,
) -> Result<(), mpsc::error::SendError<Message>> {
    let Ok((token, batch)) = queue.recv() else {
        return Ok(());
    };
    match commit(store, clock, token, batch) {
        Ok(done) => answers.blocking_send(done),
        Err(failed) => {
            report(answers, failed);
            Ok(())
        }
    }
}

fn read(
    mut reader: Box<dyn Reader>,
    clock: &dyn Clock,
    queue: &Receiver<ReadRequest>,
    answers: &mpsc::Sender<Message>,
) {
    let _guard = PanicGuard(answers);
    while let Ok(request) = queue.recv() {
        match request.answer(&mut *reader, clock.now().wall_ms) {
            Ok(answer) => {
                if answers
                    .blocking_send(Message::ReadDone(Box::new(answer)))
                    .is_err()
                {
                    return;
                }
            }
            Err(failed) => return report(answers, failed),
        }
    }
}

/// Reports a panic of a store thread as the store's failure: nothing may seem alive that cannot acknowledge.
struct PanicGuard<'a>(&'a mpsc::Sender<Message>);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let reason = "a thread of the store panicked".to_owned();
            report(self.0, Failed { reason });
        }
    }
}

fn report(answers: &mpsc::Sender<Message>, failed: Failed) {
    if answers.blocking_send(Message::Failed(failed)).is_err() {
        tracing::error!("The store failed while the broker was ending.");
    }
}
