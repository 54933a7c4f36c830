//! Builds hand-made histories for the tests of the rules.

use super::*;
use crate::history::{Dlv, Record};

pub(in crate::checker) const SUB: &str = "client.ops.all";

/// Builds a history; each call is one line, one millisecond after the one before.
pub(in crate::checker) struct Story {
    pub(in crate::checker) lines: Vec<Line>,
    pub(in crate::checker) at: u64,
}

impl Story {
    /// Begins with one subscription, served by link 1 in life 1 with a credit of 8.
    pub(in crate::checker) fn new() -> Self {
        let mut story = Self {
            lines: Vec::new(),
            at: 1_000,
        };
        story.add(Record::Sub {
            sub: SUB.into(),
            filters: vec!["a.>".into()],
            from_seq: 0,
        });
        story.attach(1, 1);
        story
    }

    pub(in crate::checker) fn add(&mut self, what: Record) -> &mut Self {
        self.at += 1;
        self.lines.push(Line { at: self.at, what });
        self
    }

    pub(in crate::checker) fn attach(&mut self, link: u64, life: u64) -> &mut Self {
        let pid = 100 + link as u32;
        self.add(Record::Attach {
            sub: SUB.into(),
            link,
            life,
            pid,
            credit: 8,
        })
    }

    pub(in crate::checker) fn invoke(&mut self, id: &str, session: &str) -> &mut Self {
        self.add(Record::PubInvoke {
            id: id.into(),
            source: "p".into(),
            topic: "a.b".into(),
            session: Some(session.into()),
            hash: 1,
        })
    }

    pub(in crate::checker) fn ok(&mut self, id: &str, seq: u64, duplicate: bool) -> &mut Self {
        self.add(Record::PubOk {
            id: id.into(),
            source: "p".into(),
            seq,
            duplicate,
        })
    }

    pub(in crate::checker) fn publish(&mut self, id: &str, session: &str, seq: u64) -> &mut Self {
        self.invoke(id, session).ok(id, seq, false)
    }

    pub(in crate::checker) fn unknown(&mut self, id: &str) -> &mut Self {
        self.add(Record::PubUnknown {
            id: id.into(),
            source: "p".into(),
        })
    }

    pub(in crate::checker) fn dlv(
        &mut self,
        link: u64,
        id: &str,
        session: &str,
        delivery: &str,
        attempt: u64,
    ) -> &mut Self {
        self.dlv_as(Dlv {
            redelivered: attempt > 1,
            ..dlv(link, id, session, delivery, attempt)
        })
    }

    pub(in crate::checker) fn dlv_as(&mut self, dlv: Dlv) -> &mut Self {
        self.add(Record::Dlv(dlv))
    }

    pub(in crate::checker) fn ack(&mut self, id: &str, delivery: &str) -> &mut Self {
        self.ack_sent(id, delivery).ack_ok(id, delivery)
    }

    pub(in crate::checker) fn ack_sent(&mut self, id: &str, delivery: &str) -> &mut Self {
        self.add(Record::AckSent {
            sub: SUB.into(),
            delivery: delivery.into(),
            id: id.into(),
        })
    }

    pub(in crate::checker) fn ack_ok(&mut self, id: &str, delivery: &str) -> &mut Self {
        self.add(Record::AckOk {
            sub: SUB.into(),
            delivery: delivery.into(),
            id: id.into(),
        })
    }

    pub(in crate::checker) fn nak(&mut self, id: &str, delivery: &str) -> &mut Self {
        self.add(Record::Nak {
            counted: true,
            sub: SUB.into(),
            delivery: delivery.into(),
            id: id.into(),
        })
    }

    pub(in crate::checker) fn dead(&mut self, id: &str, reason: &str) -> &mut Self {
        self.add(Record::Dead {
            sub: SUB.into(),
            id: id.into(),
            reason: reason.into(),
        })
    }

    pub(in crate::checker) fn crash(&mut self, life: u64) -> &mut Self {
        self.add(Record::Crash { life })
            .add(Record::Restart { life: life + 1 })
    }

    pub(in crate::checker) fn check(&mut self) -> Report {
        self.check_with(Options::default())
    }

    pub(in crate::checker) fn check_with(&mut self, options: Options) -> Report {
        if !self
            .lines
            .iter()
            .any(|line| matches!(line.what, Record::DrainEnd { .. }))
        {
            self.add(Record::FaultEnd)
                .add(Record::DrainEnd { unsettled: 0 });
        }
        check(&self.lines, options)
    }

    /// Exactly this rule must fire, and at least once.
    pub(in crate::checker) fn breaks(&mut self, rule: Rule) {
        let report = self.check();
        assert!(report.broke(rule), "{rule:?} did not fire: {report}");
        assert!(
            report.violations.iter().all(|found| found.rule == rule),
            "{report}"
        );
    }

    pub(in crate::checker) fn holds(&mut self) {
        self.check().assert_clean();
    }
}

pub(in crate::checker) fn dlv(
    link: u64,
    id: &str,
    session: &str,
    delivery: &str,
    attempt: u64,
) -> Dlv {
    Dlv {
        sub: SUB.into(),
        link,
        id: id.into(),
        session: Some(session.into()),
        hash: 1,
        delivery: delivery.into(),
        attempt,
        redelivered: false,
        replay_of: None,
        seq: None,
        lease_ms: 30_000,
    }
}
