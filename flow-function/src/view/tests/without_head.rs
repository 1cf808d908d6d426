//! A log that has lost its head, told from its snapshot on.

use turlough_statestore::event::Snapshot;

use super::*;

impl Log {
    fn versions(&self) -> Versions {
        let flow = Arc::clone(&self.flow);
        Versions(Arc::new(move |_| Some(Arc::clone(&flow))))
    }

    /// Writes down how it stands.
    fn snapshot(&mut self) {
        let last = self.records.last().unwrap();
        let (of, last) = (last.seq, last.append.envelope.id);
        let execution = Execution::read(id(), &self.versions(), &self.records).unwrap();
        let state = ValueRef::Inline(execution.snapshot(of).unwrap().into());
        let (moved, at_us) = (Vec::new(), self.now());
        let snapshot = Snapshot {
            state,
            of,
            last,
            moved,
            stores: Vec::new(),
            at_us,
        };
        self.append(Kind::Driver, vec![Event::Snapshot(snapshot)]);
    }
}

/// A state that is told from a snapshot on looks as it did, but for what steps did before.
#[test]
fn a_log_without_its_head_is_told_from_its_snapshot() {
    let mut log = Log::new(
        "flow: f\nnodes:\n  a: { apply: f, set: { n: . } }\n  \
         b: { after: [a], wait: { signal: go } }\n  c: { after: [b], apply: g }",
    );
    log.succeeds("a", 1);
    let (whole, head) = (log.view(), log.records.len());
    log.snapshot();
    let at_us = log.now();
    log.append(Kind::Driver, vec![Event::Released { at_us }]);
    let without_head = |log: &Log| {
        let records = log.records[head..].to_vec();
        let versions = log.versions();
        let execution = Execution::read(id(), &versions, &records).unwrap();
        let accepted = Box::new(execution.accepted().unwrap().clone());
        let begins = Begins::Snapshot(accepted, versions);
        let children = Vec::new();
        let request = id();
        super::request(&Subject {
            request,
            records,
            begins,
            children,
        })
        .unwrap()
    };
    let told = without_head(&log);
    assert_eq!(told["status"], "sleeping");
    assert_eq!(standing(&told), standing(&whole));
    for same in [
        "flow",
        "version",
        "begin",
        "deadline",
        "variables",
        "query",
        "waits_for",
    ] {
        assert_eq!(told[same], whole[same], "{same}");
    }
    // What follows is told as ever.
    let (name, value) = ("go".to_owned(), value(json!(2)));
    log.asks(|at_us| Event::Signalled { name, value, at_us });
    log.succeeds("c", 1);
    assert_eq!(
        standing(&without_head(&log)),
        ["a succeeded", "b succeeded", "c succeeded"]
    );
}
