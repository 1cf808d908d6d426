use super::log::Log;
use super::state::State;

const BEGIN: &str = r#"{"seq":1,"event":"accepted","flow":"f","version":"v","bytes":1,"deadline":"2026-05-01T10:10:00Z","at":"2026-05-01T10:00:00Z"}"#;

/// The end of an attempt, at a place.
fn ended(seq: &str, step: &str, rest: &str) -> String {
    format!(
        r#"{{"seq":{seq},"event":"step_ended","step":"{step}","duration_ms":1.0,"end":"2026-05-01T10:00:02Z",{rest}}}"#
    )
}

fn event(seq: &str, name: &str, rest: &str) -> String {
    format!(r#"{{"seq":{seq},"event":"{name}","at":"2026-05-01T10:00:03Z"{rest}}}"#)
}

/// How the request stands after these lines, and which of them changed nothing.
fn folded(lines: &[String]) -> Result<(State, Vec<usize>), String> {
    let text = lines.join("\n");
    let (mut log, mut state, mut void) = (Log::new(text.as_bytes()), State::default(), Vec::new());
    let told = |error: anyhow::Error| format!("{error:#}");
    while let Some(entries) = log.next_append().map_err(told)? {
        for entry in &entries {
            if !state.fold(entry).map_err(told)? {
                void.push(entry.line);
            }
        }
    }
    Ok((state, void))
}

fn check(lines: &[String], expect: &str) {
    let begun = std::iter::once(BEGIN.to_owned());
    let lines: Vec<_> = begun.chain(lines.iter().cloned()).collect();
    let (state, void) = folded(&lines).unwrap();
    let void = match &void[..] {
        [] => String::new(),
        void => format!("; void {void:?}"),
    };
    assert_eq!(super::in_short(&state) + &void, expect);
}

#[test]
fn steps_stand_as_their_last_event_says() {
    let ok = r#""status":"succeeded","attempt":1"#;
    check(&[], "running");
    check(&[ended("2", "a", ok)], "running; 1 done: a");
    let failed = ended("3", "b", r#""status":"failed","attempt":1,"error":"no""#);
    let called = event("4", "step_called", r#","step":"c","attempt":1"#);
    let started = event("5", "step_started", r#","step":"b","attempt":2"#);
    let some = [ended("2", "a", ok), failed, called];
    check(&some, "running; 1 waiting: c; 1 failed: b; 1 done: a");
    let more = [&some[..], &[started, event("6", "released", "")]].concat();
    check(&more, "sleeping; 1 running: b; 1 waiting: c; 1 done: a");
}

#[test]
fn an_end_counts_once_and_a_late_one_not_at_all() {
    let at = |attempt: u32| format!(r#""status":"succeeded","attempt":{attempt}"#);
    let lines = [
        ended("2", "a", &at(2)),
        ended("3", "a", r#""status":"failed","attempt":2,"error":"x""#),
        ended("4", "a", r#""status":"failed","attempt":1,"error":"x""#),
    ];
    check(&lines, "running; 1 done: a; void [3, 4]");
}

#[test]
fn what_has_ended_leaves_no_step_open_and_a_restart_opens_it() {
    let split = ended("2", "each", r#""status":"running","attempt":1,"items":2"#);
    let item = ended("3", "each[0]/x", r#""status":"succeeded","attempt":1"#);
    let other = event("4", "step_started", r#","step":"each[1]/x","attempt":1"#);
    let begun = [split, item, other];
    let end = |rest: &str| [&begun[..], &[event("5", "ended", rest)]].concat();
    check(
        &end(r#","status":"succeeded""#),
        "succeeded; 3 done: each, each[0]/x, each[1]/x",
    );
    let failed = end(r#","status":"failed","step":"each[1]/x","error":"no""#);
    check(
        &failed,
        "failed; 2 failed: each, each[1]/x; 1 done: each[0]/x",
    );
    check(
        &end(r#","status":"cancelled""#),
        "cancelled; 2 failed: each, each[1]/x; 1 done: each[0]/x",
    );
    let made = ended(
        "2",
        "m",
        r#""status":"running","attempt":1,"graph_bytes":9"#,
    );
    let inside = ended("3", "m/a", r#""status":"succeeded","attempt":1"#);
    let other = event(
        "4",
        "ended",
        r#","status":"failed","step":"z","error":"no""#,
    );
    check(
        &[made.clone(), inside, other.clone()],
        "failed; 2 done: m, m/a",
    );
    check(&[made, other], "failed; 1 failed: m");
    let again = [&failed[..], &[event("6", "restart_asked", "")]].concat();
    check(
        &again,
        "running; 2 waiting: each, each[1]/x; 1 done: each[0]/x",
    );
}

#[test]
fn control_is_seen_and_handlers_unwind() {
    let pause = event("2", "pause_asked", "");
    check(std::slice::from_ref(&pause), "paused");
    check(&[pause, event("3", "resume_asked", "")], "running");
    check(&[event("2", "cancel_asked", "")], "unwinding");
    let undo = event(
        "2",
        "step_started",
        r#","step":"a/~compensate","attempt":1"#,
    );
    check(&[undo], "unwinding; 1 running: a/~compensate");
}

#[test]
fn a_log_that_is_not_whole_is_refused_by_its_line() {
    let ok = r#""status":"succeeded","attempt":1"#;
    let begin = BEGIN.to_owned();
    let refused = |lines: &[String], expect: &str| {
        let told = folded(lines).unwrap_err();
        assert!(told.starts_with(expect), "{told}");
    };
    refused(&[], "it is empty; ");
    refused(&[String::new()], "it is empty; ");
    refused(&["hello".into()], "line 1: it is not JSON: ");
    refused(&[begin.clone(), "{".into()], "line 2: it is not JSON: ");
    refused(&["7".into()], "line 1: it has no event; found \"7\"");
    refused(
        &[begin.clone(), event("2", "exploded", "")],
        "line 2: event \"exploded\" is unknown to this version; ",
    );
    refused(
        &[begin.clone(), event("2", "step_started", "")],
        "line 2: step_started is not as events are printed: missing field `step`",
    );
    refused(
        &[begin.clone(), event("\"x\"", "ticked", "")],
        "line 2: seq \"x\" of ticked is no place in a log",
    );
    for seq in ["1", "5"] {
        let lines = [
            begin.clone(),
            event("5", "ticked", ""),
            event(seq, "ticked", ""),
        ];
        let expect = format!("line 3: it is out of order: seq {seq} comes after seq 5; ");
        refused(&lines, &expect);
    }
    refused(
        &[ended("2", "a", ok)],
        "line 1: the log begins with step_ended and not with accepted",
    );
    refused(
        &[event("2", "snapshot", "")],
        "line 1: a snapshot is no event that can be replayed; ",
    );
    refused(
        &[begin.clone(), event("null", "ticked", "")],
        "line 2: the log breaks off: ",
    );
    refused(
        &[begin.clone(), begin.replace(":1,", ":2,")],
        "line 2: a second request is accepted",
    );
    for name in ["settled", "closing", "delivered", "restart_asked"] {
        let told = folded(&[begin.clone(), event("2", name, "")]).unwrap_err();
        assert!(
            told.starts_with("line 2: there is a gap before it: it is "),
            "{told}"
        );
    }
    for step in ["each[0]/x", "grow#1/x", "made/x", "~finally/each[0]/x"] {
        let told = folded(&[begin.clone(), ended("2", step, ok)]).unwrap_err();
        let expect = format!("line 2: there is a gap before it: step {step} is in the body of ");
        assert!(told.starts_with(&expect), "{told}");
    }
    let later = r#""status":"succeeded","attempt":1,"generation":1"#;
    refused(
        &[begin, ended("2", "a", later)],
        "line 2: there is a gap before it: step a ended after 1 restarts",
    );
}
