//! One value of every event, and of every variant of what events hold.

use bytes::Bytes;
use turlough_sdk::{Cause, Digest, ReplicaId, RequestId, StepPath, ValueRef};
use turlough_statestore::event::{
    Accepted, Callback, Delivery, Moved, Outcome, Parent, Recipient, Snapshot, StepEnd, StepEnded,
    TraceParent, Trouble,
};
use turlough_statestore::{Append, AppendId, Envelope, Event, Kind, Seq, Standing};
use uuid::Uuid;

/// Names and values of a type's variants. The patterns stand in a match without a rest: a variant
/// without a value does not compile.
macro_rules! samples {
    ($list:ident, $name:ident: $type:ty { $($text:literal: $pattern:pat => $value:expr,)+ }) => {
        fn $name(of: &$type) -> &'static str {
            match of { $($pattern => $text,)+ }
        }
        fn $list() -> Vec<(String, $type)> {
            let all = vec![$(($text, $value)),+];
            let named = |(text, value): (&str, $type)| {
                assert_eq!($name(&value), text, "the value of {text} is another variant");
                (text.to_owned(), value)
            };
            all.into_iter().map(named).collect()
        }
    };
}

samples!(events, event_name: Event {
    "part": Event::Part { .. } => Event::part(0xa1, 2, &Bytes::from_static(b"piece")),
    "accepted": Event::Accepted(_) => Event::Accepted(accepted()),
    "claimed": Event::Claimed { .. } => Event::Claimed { replica: replica(), epoch: 3, at_us: AT },
    "released": Event::Released { .. } => Event::Released { at_us: AT },
    "step_started": Event::StepStarted { .. } => Event::StepStarted {
        step: step(), attempt: 2, at_us: AT,
    },
    "step_called": Event::StepCalled { .. } => Event::StepCalled {
        step: step(), attempt: 2, at_us: AT,
    },
    "step_ended": Event::StepEnded(_) => ended(StepEnd::Went, vec![
        ("total".to_owned(), inline()), ("rate".to_owned(), stored()),
    ]),
    "ticked": Event::Ticked { .. } => Event::Ticked { at_us: AT },
    "output_lost": Event::OutputLost { .. } => Event::OutputLost { value: stored(), at_us: AT },
    "output_failed": Event::OutputFailed { .. } => Event::OutputFailed {
        message: "inputs are over 1 GiB".to_owned(), cause: Cause::Permanent, at_us: AT,
    },
    "signalled": Event::Signalled { .. } => Event::Signalled {
        name: "approved".to_owned(), value: inline(), at_us: AT,
    },
    "pause_asked": Event::PauseAsked { .. } => Event::PauseAsked { at_us: AT },
    "resume_asked": Event::ResumeAsked { .. } => Event::ResumeAsked { at_us: AT },
    "cancel_asked": Event::CancelAsked { .. } => Event::CancelAsked { at_us: AT },
    "restart_asked": Event::RestartAsked { .. } => Event::RestartAsked {
        from: Some(step()), version: Some("9f".to_owned()), deadline_us: AT + 1, at_us: AT,
    },
    "ended": Event::Ended { .. } => Event::Ended {
        outcome: Outcome::Cancelled,
        trouble: vec![Trouble { step: step(), message: "no answer".to_owned(), cause: Cause::Timeout }],
        owed: deliveries(),
        at_us: AT,
    },
    "delivered": Event::Delivered { .. } => Event::Delivered {
        id: 0xd1, error: Some("410 Gone".to_owned()), at_us: AT,
    },
    "snapshot": Event::Snapshot(_) => Event::Snapshot(Snapshot {
        state: parts(),
        of: "41".parse::<Seq>().unwrap(),
        last: AppendId(0xb2),
        moved: vec![Moved { from: 0xa1, to: 0xa2 }],
        stores: vec!["10.0.0.1:7700".to_owned()],
        at_us: AT,
    }),
    "closing": Event::Closing { .. } => Event::Closing { at_us: AT },
    "settled": Event::Settled { .. } => Event::Settled { at_us: AT },
});

samples!(ends, end_name: StepEnd {
    "succeeded": StepEnd::Succeeded { .. } => StepEnd::Succeeded { value: stored() },
    "took": StepEnd::Took { .. } => StepEnd::Took { cases: vec![0, 300], input: Some(inline()) },
    "went": StepEnd::Went => StepEnd::Went,
    "skipped": StepEnd::Skipped => StepEnd::Skipped,
    "split": StepEnd::Split { .. } => StepEnd::Split { items: 70_000, manifest: stored() },
    "asked": StepEnd::Asked { .. } => StepEnd::Asked { again: true, input: Some(inline()) },
    "expanded": StepEnd::Expanded { .. } => StepEnd::Expanded {
        graph: "nodes: { a: { pass: . } }".to_owned(), input: Some(inline()),
    },
    "waits": StepEnd::Waits { .. } => StepEnd::Waits { until_us: AT + 9 },
    "lost": StepEnd::Lost { .. } => StepEnd::Lost { value: stored() },
    "failed": StepEnd::Failed { .. } => StepEnd::Failed {
        message: "function price answered 422".to_owned(), cause: Cause::Permanent,
    },
});

samples!(outcomes, outcome_name: Outcome {
    "succeeded": Outcome::Succeeded { .. } => Outcome::Succeeded { output: Some(parts()), size: 9 },
    "failed": Outcome::Failed { .. } => Outcome::Failed {
        step: step(), message: "closed".to_owned(), cause: Cause::Unanswered,
    },
    "timed_out": Outcome::TimedOut => Outcome::TimedOut,
    "cancelled": Outcome::Cancelled => Outcome::Cancelled,
    "dead": Outcome::Dead { .. } => Outcome::Dead { message: "took down three replicas".to_owned() },
});

samples!(values, value_name: ValueRef {
    "inline": ValueRef::Inline(_) => inline(),
    "stored": ValueRef::Stored { .. } => stored(),
    "parts": ValueRef::Parts { .. } => parts(),
});

samples!(causes, cause_name: Cause {
    "transient": Cause::Transient => Cause::Transient,
    "permanent": Cause::Permanent => Cause::Permanent,
    "timeout": Cause::Timeout => Cause::Timeout,
    "panic": Cause::Panic => Cause::Panic,
    "unanswered": Cause::Unanswered => Cause::Unanswered,
    "unknown": Cause::Unknown => Cause::Unknown,
});

samples!(recipients, recipient_name: Recipient {
    "url": Recipient::Url(_) => Recipient::Url("https://example.org/done".to_owned()),
    "openfaas-url": Recipient::OpenFaasUrl(_) => Recipient::OpenFaasUrl("https://example.org/done".to_owned()),
    "parent": Recipient::Parent(_) => Recipient::Parent(parent()),
});

samples!(kinds, kind_name: Kind {
    "driver": Kind::Driver => Kind::Driver,
    "external": Kind::External => Kind::External,
});

/// Unix time in µs, beyond 32 bits.
const AT: u64 = 1_795_000_000_000_000;

/// Every value that has a file, by the file's name.
pub(crate) fn every_sample() -> Vec<(String, Append)> {
    let mut all = Vec::new();
    let mut add = |kind: &str, list: Vec<(String, Event)>| {
        for (name, event) in list {
            all.push((format!("{kind}{name}"), append(event)));
        }
    };
    add("", events());
    add("step_ended-", with(ends(), |end| ended(end, Vec::new())));
    add("ended-", with(outcomes(), bare_end));
    add(
        "value-",
        with(values(), |value| {
            ended(StepEnd::Succeeded { value }, Vec::new())
        }),
    );
    add(
        "cause-",
        with(causes(), |cause| {
            let message = "why".to_owned();
            ended(StepEnd::Failed { message, cause }, Vec::new())
        }),
    );
    add(
        "owed-",
        with(recipients(), |to| Event::Ended {
            outcome: Outcome::TimedOut,
            trouble: Vec::new(),
            owed: vec![Delivery { id: 1, to }],
            at_us: AT,
        }),
    );
    add("least-", least());
    add("called-", called());
    add("traced-", traced());
    add("busy-", busy());
    for (name, kind) in kinds() {
        let mut sample = append(Event::Ticked { at_us: AT });
        sample.envelope.kind = kind;
        all.push((format!("envelope-{name}"), sample));
    }
    let mut first = append(Event::Ticked { at_us: AT });
    first.envelope.after = None;
    first.envelope.deadline_us = None;
    first.envelope.wake_at_us = None;
    all.push(("envelope-least".to_owned(), first));
    for standing in [Standing::Sleeping, Standing::Paused, Standing::Unwinding] {
        let mut sample = append(Event::Ticked { at_us: AT });
        sample.envelope.standing = standing;
        all.push((format!("envelope-{}", standing.name()), sample));
    }
    all
}

/// Acceptance of a call that a gateway's queue brings.
fn called() -> Vec<(String, Event)> {
    let accepted = Accepted {
        callbacks: vec![Callback {
            url: "https://example.org/called".to_owned(),
            failures_only: false,
            is_openfaas: true,
        }],
        call_id: Some("0b6f4c1e-7a52-4a54-8d4b-2f1ce0a9d3b7".to_owned()),
        delivery: Some(0xd1),
        trace: None,
        ..accepted()
    };
    vec![("accepted".to_owned(), Event::Accepted(accepted))]
}

/// Acceptance of a call that is part of somebody's trace.
fn traced() -> Vec<(String, Event)> {
    let accepted = Accepted {
        trace: Some(TraceParent {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: 0x00f0_67aa_0ba9_02b7,
            is_sampled: true,
        }),
        ..accepted()
    };
    vec![("accepted".to_owned(), Event::Accepted(accepted))]
}

/// The end of a call whose receiver wants to be left alone for a while.
fn busy() -> Vec<(String, Event)> {
    let end = StepEnd::Failed {
        message: "why".to_owned(),
        cause: Cause::Transient,
    };
    let mut event = ended(end, Vec::new());
    if let Event::StepEnded(ended) = &mut event {
        ended.again_us = Some(AT + 7_000_000);
    }
    vec![("step_ended".to_owned(), event)]
}

/// Events without whatever may be missing.
fn least() -> Vec<(String, Event)> {
    let accepted = Accepted {
        query: Vec::new(),
        headers: Vec::new(),
        parent: None,
        callbacks: Vec::new(),
        call_id: None,
        delivery: None,
        trace: None,
        ..accepted()
    };
    let snapshot = Snapshot {
        state: inline(),
        of: Seq::START,
        last: AppendId(1),
        moved: Vec::new(),
        stores: Vec::new(),
        at_us: AT,
    };
    let (from, version, deadline_us) = (None, None, AT);
    let (output, input) = (None, None);
    let graph = "nodes: {}".to_owned();
    let events = vec![
        Event::Accepted(accepted),
        Event::Snapshot(snapshot),
        Event::RestartAsked {
            from,
            version,
            deadline_us,
            at_us: AT,
        },
        Event::Delivered {
            id: 1,
            error: None,
            at_us: AT,
        },
        bare_end(Outcome::Succeeded { output, size: 0 }),
    ];
    let ends = [
        StepEnd::Took {
            cases: Vec::new(),
            input: input.clone(),
        },
        StepEnd::Asked {
            again: false,
            input: input.clone(),
        },
        StepEnd::Expanded { graph, input },
    ];
    let named = |event: Event| (event_name(&event).to_owned(), event);
    let of_step = |end: StepEnd| (end_name(&end).to_owned(), ended(end, Vec::new()));
    events
        .into_iter()
        .map(named)
        .chain(ends.into_iter().map(of_step))
        .collect()
}

fn with<T>(list: Vec<(String, T)>, event: impl Fn(T) -> Event) -> Vec<(String, Event)> {
    list.into_iter()
        .map(|(name, value)| (name, event(value)))
        .collect()
}

pub(crate) fn append(event: Event) -> Append {
    let envelope = Envelope {
        id: AppendId(u128::MAX - 1),
        after: Some(AppendId(0xb1)),
        kind: Kind::Driver,
        epoch: 3,
        replica: replica(),
        function: "flows".parse().unwrap(),
        generation: 1,
        deadline_us: Some(AT + 600_000_000),
        wake_at_us: Some(AT + 5),
        standing: Standing::Running,
    };
    Append::new(envelope, vec![event])
}

fn replica() -> ReplicaId {
    ReplicaId::from_uuid(Uuid::from_u128(0x7e))
}

fn step() -> StepPath {
    StepPath::from("months[3]/clean")
}

fn inline() -> ValueRef {
    ValueRef::Inline(Bytes::from_static(b"\x81\xa1a\x01"))
}

fn stored() -> ValueRef {
    ValueRef::Stored {
        store: "10.0.0.7:8090".into(),
        boot: 77,
        key: "default/51/months[3]/clean/2-9c".into(),
        size: 5_000_000_000,
        digest: Digest(0x1234),
    }
}

fn parts() -> ValueRef {
    ValueRef::Parts {
        upload: 0xa1,
        count: 3,
        size: 1_400_000,
        digest: Digest(u128::MAX),
    }
}

fn parent() -> Parent {
    Parent {
        request: RequestId::from_uuid(Uuid::from_u128(0x50)),
        generation: 2,
        step: StepPath::from("sub"),
        attempt: 1,
        depth: 4,
    }
}

fn accepted() -> Accepted {
    Accepted {
        flow: "orders".parse().unwrap(),
        version: "9e107d".to_owned(),
        tenant: "default".parse().unwrap(),
        input: inline(),
        query: vec![("day".to_owned(), "2013-01-01".to_owned())],
        headers: vec![("x-trace".to_owned(), "7".to_owned())],
        parent: Some(parent()),
        callbacks: vec![Callback {
            url: "https://example.org/done".to_owned(),
            failures_only: true,
            is_openfaas: false,
        }],
        call_id: None,
        delivery: None,
        trace: None,
        deadline_us: AT + 600_000_000,
        at_us: AT,
    }
}

fn deliveries() -> Vec<Delivery> {
    let of = |(at, (_, to)): (usize, (String, Recipient))| Delivery {
        id: 0xd0 + at as u128,
        to,
    };
    // What was added since has a file of its own.
    let first = recipients()
        .into_iter()
        .filter(|(name, _)| name != "openfaas-url");
    first.enumerate().map(of).collect()
}

fn bare_end(outcome: Outcome) -> Event {
    Event::Ended {
        outcome,
        trouble: Vec::new(),
        owed: Vec::new(),
        at_us: AT,
    }
}

fn ended(end: StepEnd, set: Vec<(String, ValueRef)>) -> Event {
    Event::StepEnded(StepEnded {
        step: step(),
        generation: 1,
        attempt: 2,
        epoch: 3,
        replica: replica(),
        begin_us: AT - 1_000,
        end_us: AT,
        end,
        set,
        again_us: None,
    })
}
