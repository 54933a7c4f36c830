//! What is done to subscriptions from outside: leave, seek, skip, delete.

use super::*;

impl World {
    pub(in crate::router::tests) fn leave(&mut self, sub: SubId, link: LinkId) {
        self.trace(|| format!("leave {sub:?} {link:?}"));
        self.router.leave(sub, link, self.now);
        let state = self.links.get_mut(&link).unwrap();
        state.windows.remove(&sub);
        let held: Vec<Held> = state
            .held
            .iter()
            .copied()
            .filter(|h| h.id.sub == sub)
            .collect();
        state.held.retain(|h| h.id.sub != sub);
        // What is being settled ends on its own; its credit is back.
        state.settling.retain(|h| h.id.sub != sub);
        state.gaps.retain(|id| id.sub != sub);
        for held in held {
            if self.lease_of(held.id) {
                self.unlease(sub, held.id.seq, false);
            }
        }
    }

    pub(in crate::router::tests) fn seek(&mut self, sub: SubId, to: Seq) {
        self.trace(|| format!("seek {sub:?} {to}"));
        self.router.seek(sub, to, self.now);
        let to = to.min(self.router.head());
        self.busy.retain(|(other, _), _| *other != sub);
        let model = self.subs.get_mut(&sub).unwrap();
        model.seeks += 1;
        model.moved = true;
        model.seek_to = Some(to);
        model.unflushed.clear();
        model.last_first.clear();
        let log = &self.log;
        let logged = |seq: &Seq| log.binary_search_by_key(seq, |event| event.seq).is_ok();
        let history = &self.history;
        let filters = model.filters.clone();
        for (seq, known) in &mut model.known {
            known.leased = None;
            known.attempt = 0;
            let topic = &history[seq].topic;
            let is_selected = filters.iter().any(|filter| filter.matches(topic));
            if known.fate == Fate::Pending && *seq > to && !is_selected {
                // Not found by reading again, and promised all the same.
                continue;
            }
            if !logged(seq) {
                known.fate = Fate::Skipped;
                continue;
            }
            let ended = matches!(known.fate, Fate::Ended(_)) && known.durable;
            let was_open = matches!(known.fate, Fate::Pending | Fate::Ended(_)) && !known.durable;
            if !was_open && *seq > to {
                known.opened = model.seeks;
            }
            if !ended || *seq > to {
                known.fate = Fate::Free;
                known.durable = false;
            }
        }
        model.start = model.start.min(to);
        for event in self.history.values() {
            if model.matches(event) && !model.known.contains_key(&event.seq) {
                let fate = if logged(&event.seq) {
                    Fate::Free
                } else {
                    Fate::Skipped
                };
                model.know(event.seq).fate = fate;
            }
        }
        let seeks = model.seeks;
        for (seq, known) in model.known.range_mut(to + 1..) {
            let topic = &history[seq].topic;
            if filters.iter().any(|filter| filter.matches(topic)) {
                known.sought = seeks;
            }
        }
    }

    pub(in crate::router::tests) fn skip(&mut self, sub: SubId, to: Seq) {
        self.trace(|| format!("skip {sub:?} {to}"));
        let inline = |seq: &Seq| {
            self.router.subs[&sub]
                .entries
                .get(seq)
                .is_some_and(|e| e.inline)
        };
        let inline: BTreeSet<Seq> = self.history.keys().copied().filter(inline).collect();
        self.router.skip(sub, to, 1, self.now);
        let to = to.min(self.router.head());
        self.subs.get_mut(&sub).unwrap().moved = true;
        let seqs: Vec<Seq> = {
            let model = &self.subs[&sub];
            let matching = self
                .history
                .values()
                .filter(|event| event.seq <= to)
                .filter(|event| model.matches(event) || model.known.contains_key(&event.seq));
            matching.map(|event| event.seq).collect()
        };
        for seq in seqs {
            let known = self.subs.get_mut(&sub).unwrap().know(seq);
            if !matches!(known.fate, Fate::Ended(_)) && !inline.contains(&seq) {
                known.fate = Fate::Skipped;
                if known.leased.take().is_some() {
                    self.free_session(sub, seq);
                }
            }
        }
    }

    /// Changes what a subscription selects from now on.
    pub(in crate::router::tests) fn refilter(&mut self, sub: SubId, filters: &[&str]) {
        self.trace(|| format!("refilter {sub:?} {filters:?}"));
        let filters: Vec<Filter> = filters.iter().map(|f| Filter::parse(f).unwrap()).collect();
        self.router.refilter(sub, filters.clone(), self.now);
        let head = self.router.head();
        let log = &self.log;
        let is_logged = |seq: Seq| log.binary_search_by_key(&seq, |event| event.seq).is_ok();
        let model = self.subs.get_mut(&sub).unwrap();
        model.version += 1;
        // What came before and is selected only now may be read after what was handed over already.
        model.last_first.clear();
        model.filters = filters;
        for event in self.history.values() {
            let is_selected = model.matches(event);
            let is_committed = event.seq <= head;
            if is_selected && !model.known.contains_key(&event.seq) {
                // What came before may be read with the new filters; what is on its way comes by them.
                model.know(event.seq).fate = match (is_committed, is_logged(event.seq)) {
                    (_, false) => Fate::Skipped,
                    (true, true) => Fate::Free,
                    (false, true) => Fate::Pending,
                };
            }
            if !is_selected && !is_committed {
                // It comes after the change, and nobody selects it then.
                if let Some(known) = model.known.get_mut(&event.seq) {
                    known.sought = 0;
                    if known.fate == Fate::Pending {
                        known.fate = Fate::Free;
                    }
                }
            }
        }
    }

    pub(in crate::router::tests) fn delete(&mut self, sub: SubId) {
        self.trace(|| format!("delete {sub:?}"));
        self.router.delete(sub, self.now);
        self.subs.get_mut(&sub).unwrap().deleted = true;
        self.busy.retain(|(other, _), _| *other != sub);
        for link in self.links.values_mut() {
            link.windows.remove(&sub);
            link.held.retain(|held| held.id.sub != sub);
            link.settling.retain(|held| held.id.sub != sub);
            link.gaps.retain(|id| id.sub != sub);
        }
    }

    // ---- the disk
}
