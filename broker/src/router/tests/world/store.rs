//! The simulated store: batches that are written, answered or lost, and reads that are late.

use super::*;

impl World {
    pub(in crate::router::tests) fn make_batch(&mut self) {
        if self.batch.is_some() || (self.staged.is_empty() && !self.router.wants_flush(self.now)) {
            return;
        }
        let mut commits = std::mem::take(&mut self.staged);
        let writes: usize = commits.iter().map(|c| c.events.len() + c.ops.len()).sum();
        let estimate = self.last_seq + writes as Seq + 1;
        for event in commits.iter().flat_map(|c| &c.events) {
            self.router.reserve_for(&event.topic, estimate);
        }
        let prepared: Vec<(usize, &Prepared)> = commits
            .iter()
            .enumerate()
            .map(|(index, commit)| (index, &commit.prepared))
            .collect();
        let mut durable = self.router.durable(estimate, &prepared, commits.len());
        if !durable.ops.is_empty() {
            commits.push(Staged {
                ops: durable.ops.clone(),
                ..Staged::default()
            });
        }
        let trailer = std::mem::take(&mut durable.trailer);
        self.trace(|| {
            format!(
                "batch {:?} {:?}",
                trailer,
                commits
                    .iter()
                    .map(|c| (&c.acks, &c.rejects, c.events.len()))
                    .collect::<Vec<_>>()
            )
        });
        let mut ends = Vec::new();
        let mut seeks = Vec::new();
        for (id, model) in &mut self.subs {
            let unflushed = std::mem::take(&mut model.unflushed);
            ends.extend(unflushed.into_iter().map(|seq| (*id, model.seeks, seq)));
            seeks.extend(model.seek_to.take().map(|to| (*id, model.seeks, to)));
        }
        self.batch = Some(BatchSim {
            commits,
            durable,
            trailer,
            ends,
            seeks,
            subs: self.subs.keys().copied().collect(),
            versions: self.subs.iter().map(|(id, m)| (*id, m.version)).collect(),
            written: None,
        });
    }

    /// The batch reaches the disk; nobody is told yet.
    pub(in crate::router::tests) fn write_batch(&mut self) {
        let Some(mut batch) = self.batch.take() else {
            return;
        };
        if batch.written.is_some() {
            self.batch = Some(batch);
            return;
        }
        let housekeeping = (!batch.durable.ops.is_empty()).then(|| batch.commits.len() - 1);
        let before = self.log_head;
        let faults = self.faults;
        let mut accepted: Vec<bool> = Vec::new();
        for index in 0..batch.commits.len() {
            let refused = self.chance(if housekeeping == Some(index) {
                faults / 2
            } else {
                faults
            });
            accepted.push(!refused);
        }
        if self.chance(faults) {
            // The disk filled up while it wrote: the trailer had been asked for more.
            batch.trailer.state(&vec![true; batch.commits.len()]);
        }
        for (commit, accepted) in batch.commits.iter_mut().zip(&accepted) {
            if !accepted {
                continue;
            }
            for event in &mut commit.events {
                self.last_seq += 1 + self.rng.bits() % 2;
                event.seq = self.last_seq;
                let event = Arc::new(event.clone());
                self.history.insert(event.seq, event.clone());
                self.log.push(event);
                self.log_head = self.last_seq;
            }
            Self::apply(&mut self.state, &mut self.last_seq, &commit.ops);
        }
        let ops = batch.trailer.state(&accepted);
        Self::apply(&mut self.state, &mut self.last_seq, &ops);
        let housekept = housekeeping.is_none_or(|index| accepted[index]);
        for model in self.subs.values_mut() {
            let from = if model.caught_up { before } else { model.start };
            model.caught_up = true;
            let fresh = self.history.range(from + 1..);
            let fresh: Vec<Seq> = fresh
                .filter(|(_, e)| model.matches(e))
                .map(|(s, _)| *s)
                .collect();
            for seq in fresh {
                model.know(seq);
            }
        }
        if housekept {
            for id in &batch.subs {
                if let Some(model) = self.subs.get_mut(id) {
                    model.durable = true;
                }
            }
            for (id, version) in &batch.versions {
                if let Some(model) = self.subs.get_mut(id) {
                    model.durable_version = model.durable_version.max(*version);
                }
            }
            for (id, seeks, _) in &batch.seeks {
                let Some(model) = self.subs.get_mut(id) else {
                    continue;
                };
                model.durable_seeks = *seeks;
                if model.seeks != *seeks {
                    continue;
                }
                for known in model.known.values_mut() {
                    if known.fate == Fate::Free && known.sought == *seeks {
                        known.fate = Fate::Pending;
                    }
                }
            }
            for (id, seeks, seq) in &batch.ends {
                let Some(model) = self.subs.get_mut(id) else {
                    continue;
                };
                if model.seeks == *seeks {
                    let known = model.know(*seq);
                    known.durable |= matches!(known.fate, Fate::Ended(_));
                }
            }
        } else {
            // Nothing of it counts; the next batch says it all again.
            for (id, seeks, seq) in std::mem::take(&mut batch.ends) {
                if let Some(model) = self.subs.get_mut(&id).filter(|m| m.seeks == seeks) {
                    model.unflushed.insert(seq);
                }
            }
            for (id, seeks, to) in std::mem::take(&mut batch.seeks) {
                if let Some(model) = self.subs.get_mut(&id).filter(|m| m.seeks == seeks) {
                    model.seek_to = Some(to);
                }
            }
        }
        self.trace(|| format!("written {accepted:?} head {}", self.log_head));
        batch.written = Some(accepted);
        self.batch = Some(batch);
    }

    /// The disk fills up: the batch's commits are kept, its trailer is not, and the broker dies.
    pub(in crate::router::tests) fn tear_batch(&mut self) {
        let Some(batch) = self.batch.as_ref().filter(|batch| batch.written.is_none()) else {
            return;
        };
        for commit in &batch.commits {
            assert!(commit.events.is_empty(), "only for state");
            Self::apply(&mut self.state, &mut self.last_seq, &commit.ops);
        }
        for (id, version) in batch.versions.clone() {
            if let Some(model) = self.subs.get_mut(&id) {
                model.durable = true;
                model.durable_version = version;
            }
        }
        for (id, _, seq) in batch.ends.clone() {
            if let Some(model) = self.subs.get_mut(&id) {
                model.know(seq).durable = true;
            }
        }
        self.batch = None;
        self.crash();
    }

    pub(in crate::router::tests) fn apply(state: &mut State, last_seq: &mut Seq, ops: &[StateOp]) {
        for op in ops {
            *last_seq += 1;
            match &op.value {
                Some(value) => state.insert(op.key.clone(), value.clone()),
                None => state.remove(&op.key),
            };
        }
    }

    /// The router learns what became of its batch.
    pub(in crate::router::tests) fn answer_batch(&mut self) {
        let Some(batch) = self.batch.take() else {
            return;
        };
        let Some(accepted) = batch.written else {
            self.batch = Some(batch);
            return;
        };
        let housekept = batch.durable.ops.is_empty() || accepted.last() == Some(&true);
        self.trace(|| "answered".to_owned());
        for (commit, &accepted) in batch.commits.into_iter().zip(&accepted) {
            if accepted {
                for event in commit.events {
                    self.router.committed(&Arc::new(event));
                }
            }
            for (link, id) in commit.acks.iter().chain(&commit.rejects) {
                if let Some(state) = self.links.get_mut(link) {
                    let held: Vec<Held> = state.settling.extract_if(.., |h| h.id == *id).collect();
                    if !accepted {
                        state.held.extend(held);
                    }
                }
                if !self.lease_of(*id) {
                    continue;
                }
                if accepted {
                    let rejected = commit.rejects.contains(&(*link, *id));
                    let end = if rejected {
                        End::Dead("rejected")
                    } else {
                        End::Acked
                    };
                    self.end(id.sub, id.seq, end);
                    // It was durable with its commit, if the position could be written.
                    let model = self.subs.get_mut(&id.sub).unwrap();
                    if housekept {
                        model.unflushed.remove(&id.seq);
                        model.know(id.seq).durable = true;
                    } else {
                        model.know(id.seq).unsure = true;
                    }
                } else if !self
                    .links
                    .get(link)
                    .is_some_and(|l| l.held.iter().any(|h| h.id == *id))
                {
                    self.unlease(id.sub, id.seq, false);
                }
            }
            self.router.finish(commit.prepared, accepted, self.now);
            if let Some((sub, event, session)) = commit.replay.filter(|_| accepted) {
                let (seq, router_has) = (event.seq, self.router.get(sub).is_some());
                self.router.replayed(sub, event, session);
                if router_has && let Some(model) = self.subs.get_mut(&sub) {
                    let known = model.know(seq);
                    known.fate = Fate::Pending;
                    known.durable = false;
                    known.attempt = 0;
                    known.replayed = true;
                    known.failures = 0;
                    known.deaths_alone = 0;
                }
            }
        }
        self.router.durable_done(batch.durable, housekept, self.now);
    }

    /// Says whether a replay of it is on its way.
    pub(in crate::router::tests) fn replaying(&self, sub: SubId, seq: Seq) -> bool {
        let batched = self.batch.iter().flat_map(|batch| &batch.commits);
        let mut commits = self.staged.iter().chain(batched);
        commits.any(|c| {
            c.replay
                .as_ref()
                .is_some_and(|r| r.0 == sub && r.1.seq == seq)
        })
    }

    pub(in crate::router::tests) fn flush(&mut self) {
        self.make_batch();
        self.write_batch();
        self.answer_batch();
        self.run();
    }

    // ---- reads

    pub(in crate::router::tests) fn read(&mut self, index: usize) {
        let answer = match self.asked.remove(index) {
            Asked::Page(sub, generation, after, filters, limit) => {
                let mut page = EventPage {
                    next: after,
                    head: self.log_head,
                    ..EventPage::default()
                };
                let start = self.log.partition_point(|event| event.seq <= after);
                let mut full = false;
                for event in &self.log[start..] {
                    if filters.iter().any(|f| f.matches(&event.topic)) {
                        if page.events.len() >= limit.events.min(5) {
                            full = true;
                            break;
                        }
                        page.events.push(StoredEvent::clone(event));
                    }
                    page.next = event.seq;
                }
                if !full {
                    page.next = self.log_head.max(after);
                }
                Answer::Page(sub, generation, page)
            }
            Asked::Bodies(sub, seqs) => {
                let found = seqs
                    .iter()
                    .filter_map(|seq| self.log.binary_search_by_key(seq, |e| e.seq).ok())
                    .map(|index| StoredEvent::clone(&self.log[index]))
                    .collect();
                Answer::Bodies(sub, seqs, found)
            }
        };
        self.answers.push(answer);
    }

    pub(in crate::router::tests) fn answer_read(&mut self, index: usize) {
        match self.answers.remove(index) {
            Answer::Page(sub, generation, page) => {
                self.router.page(sub, generation, page, self.now);
            }
            Answer::Bodies(sub, asked, found) => self.router.bodies(sub, &asked, found, self.now),
        }
    }

    // ---- time and crashes
}
