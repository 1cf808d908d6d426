use std::sync::Arc;

use serde_json::{Value as Json, json};
use turlough_sdk::{Cause, Flow, ReplicaId, RequestId, StepPath, Value, ValueRef, read_yaml};
use turlough_statestore::event::{
    Accepted, Callback, Delivery, Outcome, Parent, Recipient, StepEnd, StepEnded, Trouble,
};
use turlough_statestore::{Append, AppendId, Envelope, Event, Kind, Record};
use uuid::Uuid;

use super::*;
use crate::machine::Versions;

mod without_head;

const SECOND: u64 = 1_000_000;

/// A log in the making, as a driver and others would write it.
struct Log {
    flow: Arc<Flow>,
    records: Vec<Record>,
    generation: u32,
    at_us: u64,
}

fn id() -> RequestId {
    RequestId::from_uuid(Uuid::from_u128(7))
}

fn value(data: Json) -> ValueRef {
    ValueRef::Inline(Value::encode(&data).unwrap().envelope().clone())
}

impl Log {
    fn new(flow: &str) -> Self {
        let flow = Arc::new(read_yaml(flow).unwrap());
        let mut log = Self {
            records: Vec::new(),
            generation: 0,
            at_us: 0,
            flow,
        };
        let accepted = Accepted {
            flow: log.flow.name().clone(),
            version: log.flow.version().to_string(),
            tenant: "t".parse().unwrap(),
            input: value(json!(1)),
            query: vec![("q".to_owned(), "1".to_owned())],
            headers: Vec::new(),
            parent: None,
            callbacks: Vec::new(),
            call_id: None,
            delivery: None,
            trace: None,
            deadline_us: 3_600 * SECOND,
            at_us: 0,
        };
        let replica = ReplicaId::from_uuid(Uuid::nil());
        let claimed = Event::Claimed {
            replica,
            epoch: 1,
            at_us: 0,
        };
        log.append(Kind::Driver, vec![Event::Accepted(accepted), claimed]);
        log
    }

    fn append(&mut self, kind: Kind, events: Vec<Event>) {
        let number = self.records.len() as u128 + 1;
        let envelope = Envelope {
            id: AppendId(number),
            after: self.records.last().map(|last| last.append.envelope.id),
            kind,
            epoch: 1,
            replica: ReplicaId::from_uuid(Uuid::nil()),
            function: "flows".parse().unwrap(),
            generation: self.generation,
            deadline_us: None,
            wake_at_us: None,
            standing: turlough_statestore::Standing::Running,
        };
        let append = Append::new(envelope, events);
        let seq = number.to_string().parse().unwrap();
        self.records.push(Record { seq, append });
    }

    fn now(&mut self) -> u64 {
        self.at_us += SECOND;
        self.at_us
    }

    fn ends(&mut self, step: &str, attempt: u32, end: StepEnd) {
        let end_us = self.now();
        let ended = StepEnded {
            step: StepPath::from(step),
            generation: self.generation,
            attempt,
            epoch: 1,
            replica: ReplicaId::from_uuid(Uuid::nil()),
            begin_us: end_us - SECOND / 2,
            end_us,
            end,
            set: vec![("n".to_owned(), value(json!({ "of": step })))],
            again_us: None,
        };
        self.append(Kind::Driver, vec![Event::StepEnded(ended)]);
    }

    fn succeeds(&mut self, step: &str, attempt: u32) {
        let value = value(json!(step));
        self.ends(step, attempt, StepEnd::Succeeded { value });
    }

    fn fails(&mut self, step: &str, attempt: u32) {
        let (message, cause) = ("no disk".to_owned(), Cause::Transient);
        self.ends(step, attempt, StepEnd::Failed { message, cause });
    }

    fn asks(&mut self, event: impl FnOnce(u64) -> Event) {
        let at_us = self.now();
        self.append(Kind::External, vec![event(at_us)]);
    }

    fn view(&self) -> Json {
        self.view_at(self.records.len())
    }

    fn view_at(&self, records: usize) -> Json {
        let subject = Subject {
            request: id(),
            records: self.records[..records].to_vec(),
            begins: Begins::Head(Some((Arc::clone(&self.flow), Versions(Arc::new(|_| None))))),
            children: Vec::new(),
        };
        request(&subject).unwrap()
    }
}

/// Each step with how it stands, in their order.
fn standing(view: &Json) -> Vec<String> {
    let steps = view["steps"].as_array().unwrap().iter();
    steps
        .map(|row| format!("{} {}", row["step"], row["status"]).replace('"', ""))
        .collect()
}

#[test]
fn the_steps_of_a_body_stand_below_their_node_and_what_runs_is_seen_without_a_start() {
    let mut log = Log::new(
        "
flow: f
nodes:
  all: { for_each: { max_parallel: 2, body: { nodes: { a: { apply: x }, b: { after: [a], apply: x } } } } }
  end: { after: [all], pass: . }
",
    );
    assert_eq!(standing(&log.view()), ["all running", "end waiting"]);
    let manifest = value(json!([]));
    log.ends("all", 1, StepEnd::Split { items: 3, manifest });
    log.succeeds("all[1]/a", 1);
    let view = log.view();
    let expected = [
        "all running",
        "all[0]/a running",
        "all[1]/a succeeded",
        "all[1]/b running",
        "end waiting",
    ];
    assert_eq!(standing(&view), expected);
    assert_eq!(view["steps"][0]["items"], 3);
    assert_eq!(view["steps"][0]["items_ended"], 0);
    assert_eq!(view["steps"][1]["operation"], "apply");
    assert_eq!(view["status"], "running");
    log.succeeds("all[1]/b", 1);
    log.succeeds("all[0]/a", 1);
    log.succeeds("all[0]/b", 1);
    log.succeeds("all[2]/a", 1);
    log.succeeds("all[2]/b", 1);
    log.succeeds("all", 2);
    let view = log.view();
    assert!(
        standing(&view)[..7]
            .iter()
            .all(|row| row.ends_with("succeeded"))
    );
    let all = &view["steps"][0];
    assert_eq!(
        all["duration_ms"], 7_500.0,
        "a for_each takes as long as its items"
    );
    assert_eq!(all["items"], 3);
    assert_eq!(view["variables"]["n"]["value"], json!({ "of": "all" }));
}

#[test]
fn attempts_that_failed_are_told_beside_the_one_that_runs() {
    let mut log =
        Log::new("flow: f\nnodes: { a: { apply: x, retry: { attempts: 3, backoff: 1m..1m } } }\n");
    log.fails("a", 1);
    log.fails("a", 2);
    let row = log.view()["steps"][0].clone();
    assert_eq!(
        (&row["status"], &row["attempt"]),
        (&json!("retrying"), &json!(3))
    );
    assert_eq!(row["error"], "no disk");
    assert!(
        row["next_attempt_at"].is_string() && row["begin"].is_null(),
        "{row}"
    );
    let attempts: Vec<_> = row["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| &a["attempt"])
        .collect();
    assert_eq!(attempts, [1, 2]);
    log.succeeds("a", 3);
    let row = log.view()["steps"][0].clone();
    assert_eq!(row["status"], "succeeded");
    assert_eq!(row["error"], Json::Null);
    // What comes late changes nothing.
    log.fails("a", 2);
    assert_eq!(log.view()["steps"][0], row);
}

#[test]
fn a_paused_request_holds_back_what_would_start() {
    let mut log = Log::new("flow: f\nnodes: { a: { apply: x }, b: { after: [a], apply: x } }\n");
    log.asks(|at_us| Event::PauseAsked { at_us });
    assert_eq!(standing(&log.view()), ["a running", "b waiting"]);
    log.succeeds("a", 1);
    let view = log.view();
    assert_eq!(standing(&view), ["a succeeded", "b held"]);
    assert_eq!(view["status"], "paused");
    log.asks(|at_us| Event::ResumeAsked { at_us });
    assert_eq!(standing(&log.view()), ["a succeeded", "b running"]);
}

#[test]
#[allow(clippy::too_many_lines, reason = "one request, every kind of wait")]
fn what_a_request_waits_for_is_named_wherever_it_waits() {
    let mut log = Log::new(
        "
flow: f
nodes:
  told: { wait: { signal: go } }
  nap: { wait: 5m }
  call: { apply: x, mode: async }
  poll:
    loop:
      while: .more
      max_iterations: 9
      body: { nodes: { hold: { wait: { signal: again } } } }
  all: { for_each: { body: { nodes: { asked: { wait: { signal: item } } } } } }
",
    );
    let begun = log.now();
    let (step, attempt) = (StepPath::from("call"), 1);
    let started = Event::StepStarted {
        step: step.clone(),
        attempt,
        at_us: begun,
    };
    let called = Event::StepCalled {
        step,
        attempt,
        at_us: begun,
    };
    log.append(Kind::Driver, vec![started, called]);
    let again = |again| StepEnd::Asked { again, input: None };
    log.ends("poll", 1, again(true));
    let manifest = value(json!([]));
    log.ends("all", 1, StepEnd::Split { items: 2, manifest });
    let at_us = log.now();
    log.append(Kind::Driver, vec![Event::Released { at_us }]);
    let view = log.view();
    let waits: Vec<_> = view["waits_for"].as_array().unwrap().iter().collect();
    let of = |step: &str| {
        let found = waits.iter().find(|wait| wait["step"] == step);
        (**found.unwrap_or_else(|| panic!("{step} is not in {waits:?}"))).clone()
    };
    assert_eq!(waits.len(), 6, "{waits:?}");
    assert_eq!(of("told")["signal"], "go");
    assert_eq!(of("nap")["operation"], "wait");
    assert_eq!(of("call")["callback"], true);
    assert_eq!(of("poll#1/hold")["signal"], "again");
    assert_eq!(of("all[1]/asked")["signal"], "item");
    assert_eq!(
        (&view["status"], &view["wakes_at"]),
        (&json!("sleeping"), &json!("1970-01-01T00:05:00Z"))
    );
    assert!(standing(&view).contains(&"poll#1/hold sleeping".to_owned()));
    log.asks(|at_us| Event::Signalled {
        name: "again".to_owned(),
        value: value(json!({ "more": true })),
        at_us,
    });
    log.ends("poll", 2, again(true));
    let view = log.view();
    let waits = view["waits_for"].to_string();
    assert!(
        waits.contains("poll#2/hold") && !waits.contains("poll#1/hold"),
        "{waits}"
    );
    assert_eq!(
        view["steps"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["step"] == "poll")
            .unwrap()["iteration"],
        2
    );
}

const BOOKING: &str = "
flow: f
nodes:
  book: { apply: x, compensate: { apply: undo } }
  pay: { after: [book], apply: x }
  side: { apply: x }
  end: { after: [pay], pass: . }
on_failure: { nodes: { tell: { apply: mail } } }
";

/// A booking whose payment fails.
fn failed() -> Log {
    let mut log = Log::new(BOOKING);
    let at_us = log.now();
    let (step, attempt) = (StepPath::from("book"), 1);
    log.append(
        Kind::Driver,
        vec![Event::StepStarted {
            step,
            attempt,
            at_us,
        }],
    );
    log.succeeds("book", 1);
    log.fails("pay", 1);
    log
}

#[test]
fn an_unwound_request_shows_what_undid_it_and_what_went_wrong() {
    let mut log = failed();
    let view = log.view();
    assert_eq!(view["status"], "unwinding");
    let expected = [
        "side abandoned",
        "book succeeded",
        "book/~compensate running",
        "pay failed",
        "end not_reached",
    ];
    let mut found = standing(&view);
    found.sort();
    let mut sorted = expected.map(str::to_owned);
    sorted.sort();
    assert_eq!(found, sorted);
    log.fails("book/~compensate", 1);
    let view = log.view();
    assert_eq!(view["trouble"][0]["step"], "book/~compensate");
    assert!(standing(&view).contains(&"~on_failure/tell running".to_owned()));
    log.succeeds("~on_failure/tell", 1);
    let at_us = log.now();
    log.append(Kind::Driver, vec![end(at_us)]);
    let view = log.view();
    assert_eq!(
        (&view["status"], &view["error"]),
        (&json!("failed"), &json!("step pay: no disk"))
    );
    assert_eq!(view["trouble"][0]["error"], "no disk");
    assert_eq!(view["owed"], json!([{ "url": "http://e/" }]));
    assert!(
        standing(&view)
            .last()
            .unwrap()
            .starts_with("~on_failure/tell succeeded")
    );
}

fn end(at_us: u64) -> Event {
    let step = StepPath::from("pay");
    let (message, cause) = ("no disk".to_owned(), Cause::Transient);
    Event::Ended {
        outcome: Outcome::Failed {
            step,
            message: message.clone(),
            cause,
        },
        trouble: vec![Trouble {
            step: StepPath::from("book/~compensate"),
            message,
            cause,
        }],
        owed: vec![Delivery {
            id: 5,
            to: Recipient::Url("http://e/".to_owned()),
        }],
        at_us,
    }
}

#[test]
fn a_view_is_of_any_event_and_a_restart_begins_a_generation() {
    let mut log = failed();
    log.succeeds("book/~compensate", 1);
    log.succeeds("~on_failure/tell", 1);
    let at_us = log.now();
    log.append(Kind::Driver, vec![end(at_us)]);
    let ended = log.records.len();
    log.asks(|at_us| Event::RestartAsked {
        from: None,
        version: None,
        deadline_us: 9_999 * SECOND,
        at_us,
    });
    log.generation = 1;
    let view = log.view();
    assert_eq!(
        (&view["status"], &view["generation"]),
        (&json!("running"), &json!(1))
    );
    assert_eq!((&view["error"], &view["owed"]), (&Json::Null, &Json::Null));
    assert!(
        standing(&view).contains(&"pay waiting".to_owned()),
        "{:?}",
        standing(&view)
    );
    assert!(
        standing(&view).contains(&"book running".to_owned()),
        "{:?}",
        standing(&view)
    );
    assert_eq!(log.view_at(ended)["status"], "failed");
    assert_eq!(log.view_at(1)["status"], "running");
    assert_eq!(log.view_at(ended)["query"], json!([["q", "1"]]));
}

#[test]
fn without_its_definition_a_request_is_told_by_its_events() {
    let mut log = failed();
    let at_us = log.now();
    log.append(Kind::Driver, vec![end(at_us)]);
    let subject = Subject {
        request: id(),
        records: log.records.clone(),
        begins: Begins::Head(None),
        children: Vec::new(),
    };
    let view = request(&subject).unwrap();
    assert_eq!(view["status"], "failed");
    assert_eq!(standing(&view), ["book succeeded", "pay failed"]);
    let none = Subject {
        records: Vec::new(),
        ..subject
    };
    assert_eq!(request(&none), None);
}

#[test]
fn a_child_names_its_parent_and_a_failed_delivery_is_told() {
    let mut log = failed();
    let Event::Accepted(accepted) = &mut log.records[0].append.events[0] else {
        panic!("a log begins with accepted");
    };
    accepted.parent = Some(Parent {
        request: id(),
        generation: 2,
        step: StepPath::from("sub"),
        attempt: 3,
        depth: 1,
    });
    accepted.callbacks.push(Callback {
        url: "http://e/".to_owned(),
        failures_only: false,
        is_openfaas: false,
    });
    log.succeeds("book/~compensate", 1);
    log.succeeds("~on_failure/tell", 1);
    let at_us = log.now();
    let error = Some("refused".to_owned());
    log.append(
        Kind::Driver,
        vec![
            end(at_us),
            Event::Delivered {
                id: 5,
                error,
                at_us,
            },
        ],
    );
    let view = log.view();
    assert_eq!(view["parent"], id().to_string());
    assert_eq!(
        (&view["parent_step"], &view["parent_attempt"]),
        (&json!("sub"), &json!(3))
    );
    assert_eq!(view["owed"], Json::Null);
    assert_eq!(
        view["given_up"],
        json!([{ "url": "http://e/", "error": "refused" }])
    );
}

#[test]
fn every_end_of_a_step_is_told_and_no_payload() {
    let secret = value(json!("hidden"));
    let ends = [
        (
            StepEnd::Succeeded {
                value: secret.clone(),
            },
            "succeeded",
        ),
        (
            StepEnd::Took {
                cases: vec![1],
                input: Some(secret.clone()),
            },
            "succeeded",
        ),
        (StepEnd::Went, "running"),
        (StepEnd::Skipped, "skipped"),
        (
            StepEnd::Split {
                items: 2,
                manifest: secret.clone(),
            },
            "running",
        ),
        (
            StepEnd::Asked {
                again: true,
                input: Some(secret.clone()),
            },
            "running",
        ),
        (
            StepEnd::Asked {
                again: false,
                input: None,
            },
            "succeeded",
        ),
        (
            StepEnd::Expanded {
                graph: "{}".to_owned(),
                input: Some(secret.clone()),
            },
            "running",
        ),
        (StepEnd::Waits { until_us: SECOND }, "sleeping"),
        (StepEnd::Lost { value: secret }, "lost"),
        (
            StepEnd::Failed {
                message: "m".to_owned(),
                cause: Cause::Panic,
            },
            "failed",
        ),
    ];
    for (end, status) in ends {
        let mut log = Log::new(BOOKING);
        log.ends("book", 1, end);
        let (name, view) = event(&log.records[1].append.events[0]).unwrap();
        assert_eq!((name, &view["status"]), ("step_ended", &json!(status)));
        assert!(
            view["step"].is_string() && view["attempt"].is_u64() && view["duration_ms"].is_f64()
        );
        assert!(!view.to_string().contains("hidden"), "{view}");
    }
}
