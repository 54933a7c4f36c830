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
        for (seq, known) in &mut model.known {
            known.leased = None;
            known.attempt = 0;
            if !logged(seq) {
                known.fate = Fate::Skipped;
                continue;
            }
            let ended = matches!(known.fate, Fate::Ended(_)) && known.durable;
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
                .filter(|event| event.seq <= to && model.matches(event));
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
