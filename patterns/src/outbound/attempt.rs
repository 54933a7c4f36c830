//! One handing-over of one message.

use trunkline_contract::error::Code;
use trunkline_contract::message::{Receipt, ReceiptError, ReceiptPart, ReceiptState};

use super::fit::NotSupported;
use super::record::Record;

/// The class of a failure to do what the channel does not have.
pub const NOT_SUPPORTED: &str = "not_supported";

/// What may be done about a call of which nobody knows whether it happened.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
pub struct Rules {
    /// It may be made again: the provider takes the same key only once, or twice does no harm.
    pub may_repeat: bool,
    /// The provider can be asked.
    pub can_ask: bool,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make these durable together, then say [`Attempt::noted`].
    Note {
        /// Of parts that were sent before.
        receipts: Vec<Receipt>,
        /// Says that a call begins.
        record: Record,
    },
    /// Send a part, then say [`Attempt::called`].
    Call {
        /// Which one, from 1.
        n: u32,
    },
    /// Ask the provider what became of a part, then say [`Attempt::asked`].
    Ask {
        /// Which one, from 1.
        n: u32,
    },
    /// Settle.
    End(End),
}

/// How a handing-over ends: all of it in one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// What is said of the parts.
    pub receipts: Vec<Receipt>,
    /// What becomes of the delivery.
    pub settle: Settle,
    /// What becomes of the record.
    pub keep: Keep,
}

/// What becomes of the delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settle {
    /// It is done with.
    Ack,
    /// It comes again.
    Nak {
        /// After so long; by the subscription's schedule where none is told.
        after_ms: Option<u64>,
        /// It is one of the failures that are limited in number.
        is_counted: bool,
        /// For operators.
        reason: String,
    },
    /// It becomes a dead letter.
    Reject {
        /// Names the reason for programs.
        code: String,
        /// Names it for people.
        reason: String,
    },
}

/// What becomes of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It stays as it is, or absent.
    AsIs,
    /// It is written.
    Put(Record),
    /// It is deleted.
    Drop,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Called {
    /// The handler says what became of the part.
    Said(Receipt),
    /// It failed.
    Failed(Failure),
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The provider said when to come back; nothing happened.
    Wait {
        /// How soon.
        after_ms: u64,
    },
    /// Nothing happened, and later it may.
    BackOff {
        /// Not before.
        at_least_ms: u64,
        /// Names the reason for programs.
        code: String,
        /// What kind of failure it was.
        class: String,
        /// For operators.
        reason: String,
    },
    /// It may have happened.
    Ambiguous {
        /// What kind of failure it was.
        class: String,
        /// For operators.
        reason: String,
    },
    /// The same call would fail again.
    Final {
        /// Names the reason for programs.
        code: String,
        /// What kind of failure it was.
        class: String,
        /// For operators.
        reason: String,
    },
    /// The handler asks to be called later; nothing happened.
    Retry {
        /// How soon.
        after_ms: u64,
        /// It counts as a failure.
        is_counted: bool,
        /// Why.
        reason: String,
    },
    /// The instance stops while the call is under way.
    Stopped,
}

/// What the provider says when it is asked about a part.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It has it.
    Said(Box<Receipt>),
    /// It never got it.
    NotSent,
    /// It cannot say.
    Unknown,
    /// It could not be asked now.
    Failed {
        /// When to ask again, if that is known.
        after_ms: Option<u64>,
        /// Why.
        reason: String,
    },
}

/// Is one handing-over.
#[derive(Clone, Debug)]
pub struct Attempt {
    rules: Rules,
    of: u32,
    record: Record,
    /// As it is in the store; none where it is absent.
    stored: Option<Record>,
    /// The next failure that counts is the last.
    is_last: bool,
    /// Receipts that are not durable.
    pending: Vec<Receipt>,
    /// The call may be made: it is noted, or was never made.
    is_free: bool,
}

impl Attempt {
    /// Begins.
    ///
    /// # Arguments
    /// * `stored` - the record, if there is one.
    /// * `chars_max` - what the message was cut by; a stored record's own comes first.
    /// * `of` - how many parts it has, at least 1.
    /// * `is_last` - the next counted failure makes it a dead letter.
    /// * `is_replay` - an operator wants it sent, whatever is known of it.
    pub fn new(
        rules: Rules,
        stored: Option<Record>,
        (chars_max, of): (Option<u32>, u32),
        is_last: bool,
        is_replay: bool,
    ) -> Self {
        let mut record = stored.clone().unwrap_or(Record {
            chars_max,
            ..Record::default()
        });
        record.begun &= !is_replay || rules.can_ask;
        record.done = record.done.min(of);
        Self {
            rules,
            of: of.max(1),
            record,
            stored,
            is_last,
            pending: Vec::new(),
            is_free: false,
        }
    }

    /// Says which features of the message go out as text instead: its receipts name them. A message of which something
    /// was sent stays what it was.
    pub fn degraded<'a>(&mut self, features: impl IntoIterator<Item = &'a str>) {
        if !self.record.has_begun() {
            self.record.degraded = features.into_iter().map(str::to_owned).collect();
        }
    }

    /// Says what to do now.
    pub fn step(&mut self) -> Step {
        if self.record.done >= self.of {
            return Step::End(self.end(Settle::Ack, None));
        }
        let n = self.record.done + 1;
        if self.is_free {
            return Step::Call { n };
        }
        if self.record.begun && self.rules.can_ask {
            return Step::Ask { n };
        }
        if self.rules.may_repeat {
            return Step::Call { n };
        }
        if self.record.begun {
            return Step::End(self.unknown("crashed"));
        }
        let record = Record {
            begun: true,
            ..self.record.clone()
        };
        Step::Note {
            receipts: self.pending.clone(),
            record,
        }
    }

    /// Takes that a [`Step::Note`] is durable.
    pub fn noted(&mut self) {
        self.record.begun = true;
        self.stored = Some(self.record.clone());
        self.pending.clear();
        self.is_free = true;
    }

    /// Takes what a call came to; none while there is more to do.
    pub fn called(&mut self, called: Called) -> Option<End> {
        self.is_free = false;
        let failure = match called {
            Called::Said(receipt) => return self.said(receipt),
            Called::Failed(failure) => failure,
        };
        // Where notes are taken, only a call of which nothing is known leaves one behind.
        self.record.begun = false;
        match failure {
            Failure::Wait { after_ms } => {
                Some(self.later(Some(after_ms), false, "the provider said when to come back"))
            }
            Failure::BackOff {
                at_least_ms,
                code,
                class,
                reason,
            } => Some(self.back_off(at_least_ms, &fault(&code, Some(&class), true), &reason)),
            Failure::Ambiguous { class, reason } => self.ambiguous(&class, &reason),
            Failure::Final {
                code,
                class,
                reason,
            } => Some(self.refused(&code, &class, &reason)),
            Failure::Retry {
                after_ms,
                is_counted: true,
                reason,
            } if self.is_last => {
                let error = fault("retry", Some(&reason), true);
                let settle = nak(Some(after_ms), true, &reason);
                Some(self.give_up(&error, settle))
            }
            Failure::Retry {
                after_ms,
                is_counted,
                reason,
            } => Some(self.later(Some(after_ms), is_counted, &reason)),
            Failure::Stopped if self.rules.may_repeat => Some(self.stopped()),
            Failure::Stopped if self.rules.can_ask => {
                self.record.begun = true;
                Some(self.stopped())
            }
            Failure::Stopped => Some(self.unknown("stopped")),
        }
    }

    /// Takes what the provider said; none while there is more to do.
    pub fn asked(&mut self, answer: Answer) -> Option<End> {
        match answer {
            Answer::Said(receipt) => self.said(*receipt),
            Answer::NotSent => {
                // The note of it stands: it is about to be made.
                self.is_free = true;
                None
            }
            Answer::Unknown if self.rules.may_repeat => {
                self.is_free = true;
                None
            }
            Answer::Unknown => Some(self.unknown("not_known")),
            Answer::Failed { reason, .. } if self.is_last => {
                // Replayed, it is asked about again.
                let end = self.unknown("not_known");
                let (settle, keep) = (nak(None, true, &reason), Keep::AsIs);
                Some(End {
                    settle,
                    keep,
                    ..end
                })
            }
            Answer::Failed { after_ms, reason } => Some(self.later(after_ms, true, &reason)),
        }
    }

    /// Ends this handing-over before the next call, to go on in another.
    pub fn pause(&mut self, after_ms: u64, reason: &str) -> End {
        // A note that was taken for a call that is not made would later look like one that was.
        self.record.begun &= !self.is_free;
        let settle = nak(Some(after_ms), false, reason);
        let keep = self.kept();
        self.end(settle, Some(keep))
    }

    /// Gives the message up: it asks for what the channel cannot do.
    pub fn not_supported(&mut self, lacking: NotSupported, reason: &str) -> End {
        let code = Code::NotImplemented.as_str();
        let settle = Settle::Reject {
            code: code.to_owned(),
            reason: reason.to_owned(),
        };
        let mut error = fault(code, Some(NOT_SUPPORTED), false);
        error.feature = Some(lacking.feature.to_owned());
        self.give_up(&error, settle)
    }

    /// Gives the message up: the provider refuses it.
    pub fn refused(&mut self, code: &str, class: &str, reason: &str) -> End {
        let settle = Settle::Reject {
            code: code.to_owned(),
            reason: reason.to_owned(),
        };
        self.give_up(&fault(code, Some(class), false), settle)
    }

    fn said(&mut self, receipt: Receipt) -> Option<End> {
        self.record.begun = false;
        match receipt.state {
            ReceiptState::Failed => {
                let error = receipt
                    .error
                    .unwrap_or_else(|| fault("failed", None, false));
                Some(self.give_up(&error, Settle::Ack))
            }
            ReceiptState::Unknown => Some(self.unknown("not_known")),
            _ => {
                let mut receipt = self.of_part(self.record.done + 1, receipt);
                if !self.record.degraded.is_empty() {
                    // The handler may have left out more.
                    let left_out = receipt.degraded.get_or_insert_default();
                    left_out.extend(self.record.degraded.iter().cloned());
                }
                self.pending.push(receipt);
                self.record.done += 1;
                None
            }
        }
    }

    fn back_off(&mut self, at_least_ms: u64, error: &ReceiptError, reason: &str) -> End {
        // A told wait is the least; the subscription's own schedule is the rule.
        let after_ms = (at_least_ms > 0).then_some(at_least_ms);
        if self.is_last {
            return self.give_up(error, nak(after_ms, true, reason));
        }
        self.later(after_ms, true, reason)
    }

    fn ambiguous(&mut self, class: &str, reason: &str) -> Option<End> {
        if self.rules.can_ask {
            self.record.begun = true;
            // Not at once: the provider may learn of it a little later. But there is no later.
            return (!self.is_last).then(|| self.later(None, true, reason));
        }
        if !self.rules.may_repeat {
            return Some(self.unknown(class));
        }
        if !self.is_last {
            return Some(self.later(None, true, reason));
        }
        let end = self.unknown(class);
        let settle = nak(None, true, reason);
        Some(End { settle, ..end })
    }

    fn stopped(&mut self) -> End {
        let keep = self.kept();
        self.end(nak(Some(0), false, "the instance stops"), Some(keep))
    }

    /// It comes again: what was sent is remembered, and who sent it is told that it waits.
    fn later(&mut self, after_ms: Option<u64>, is_counted: bool, reason: &str) -> End {
        let waits = self.of_part(self.record.done + 1, state(ReceiptState::Queued));
        self.pending.push(waits);
        let keep = self.kept();
        self.end(nak(after_ms, is_counted, reason), Some(keep))
    }

    /// Nobody can say what became of the next part; those behind it are not sent.
    fn unknown(&mut self, class: &str) -> End {
        let mut receipt = state(ReceiptState::Unknown);
        receipt.error = Some(fault("delivery_unknown", Some(class), false));
        self.last_of(receipt);
        self.end(Settle::Ack, None)
    }

    /// The next part fails for good; those behind it are not sent.
    fn give_up(&mut self, error: &ReceiptError, settle: Settle) -> End {
        let mut receipt = state(ReceiptState::Failed);
        receipt.error = Some(error.clone());
        self.last_of(receipt);
        // A dead letter that is replayed goes on where this ended.
        self.record.begun = false;
        let is_over = settle == Settle::Ack || self.record.done == 0;
        let keep = (!is_over).then(|| Keep::Put(self.record.clone()));
        self.end(settle, keep)
    }

    /// Says what becomes of the next part, and that nothing behind it was sent.
    fn last_of(&mut self, receipt: Receipt) {
        let n = self.record.done + 1;
        let receipt = self.of_part(n, receipt);
        self.pending.push(receipt);
        for behind in n + 1..=self.of {
            let mut skipped = state(ReceiptState::Failed);
            skipped.error = Some(fault("delivery_failed", Some("earlier_part"), true));
            let skipped = self.of_part(behind, skipped);
            self.pending.push(skipped);
        }
    }

    /// What the record has to say until the next handing-over.
    fn kept(&self) -> Keep {
        let is_needed = self.record.done > 0 || self.record.begun;
        match (&self.stored, is_needed) {
            (Some(stored), true) if *stored == self.record => Keep::AsIs,
            (_, true) => Keep::Put(self.record.clone()),
            (Some(_), false) => Keep::Drop,
            (None, false) => Keep::AsIs,
        }
    }

    fn end(&mut self, settle: Settle, keep: Option<Keep>) -> End {
        let over = if self.stored.is_some() {
            Keep::Drop
        } else {
            Keep::AsIs
        };
        End {
            receipts: std::mem::take(&mut self.pending),
            settle,
            keep: keep.unwrap_or(over),
        }
    }

    fn of_part(&self, n: u32, receipt: Receipt) -> Receipt {
        let part = (self.of > 1).then(|| ReceiptPart {
            n,
            of: self.of,
            ..ReceiptPart::default()
        });
        Receipt {
            part: part.or(receipt.part),
            ..receipt
        }
    }
}

fn state(state: ReceiptState) -> Receipt {
    Receipt {
        state,
        ..Receipt::default()
    }
}

fn fault(code: &str, class: Option<&str>, is_retryable: bool) -> ReceiptError {
    ReceiptError {
        code: code.to_owned(),
        class: class.map(str::to_owned),
        retryable: Some(is_retryable),
        ..ReceiptError::default()
    }
}

fn nak(after_ms: Option<u64>, is_counted: bool, reason: &str) -> Settle {
    Settle::Nak {
        after_ms,
        is_counted,
        reason: reason.to_owned(),
    }
}
