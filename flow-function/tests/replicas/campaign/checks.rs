//! What must be true once the last request is settled. Each finding names the request.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value as Json;
use turlough_sdk::{Value, ValueRef};
use turlough_statestore::event::{Accepted, Outcome, StepEnd};
use turlough_statestore::{Append, Event};

use super::counters::Line;
use super::flows::Kind;
use super::harm::{Blow, Dealt, Whom};
use super::load::{Asked, Begun};
use super::logs::{Logs, counted};
use super::once::Calls;
use super::receiver::Word;

/// All that a campaign left behind.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) begun: Vec<Begun>,
    pub(crate) logs: Logs,
    pub(crate) lines: Vec<Line>,
    pub(crate) words: Vec<Word>,
    pub(crate) dealt: Vec<Dealt>,
}

/// What was found wrong, and what may be said of the rest.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) wrong: Vec<String>,
    /// Ends of calls that were made once at most, by how they are known to have ended.
    pub(crate) once: BTreeMap<&'static str, usize>,
    /// Requests that were given up since replica after replica was killed while it drove them.
    pub(crate) dead: usize,
}

/// A request as its log tells of it.
struct Seen<'a> {
    about: String,
    id: String,
    chain: Vec<&'a Append>,
}

impl Seen<'_> {
    fn events(&self) -> impl Iterator<Item = &Event> {
        self.chain.iter().flat_map(|append| &append.events)
    }

    fn accepted(&self) -> Option<&Accepted> {
        self.events().find_map(|event| match event {
            Event::Accepted(accepted) => Some(accepted),
            _ => None,
        })
    }

    fn outcome(&self) -> Option<&Outcome> {
        self.events().find_map(|event| match event {
            Event::Ended { outcome, .. } => Some(outcome),
            _ => None,
        })
    }

    /// What it gave.
    fn output(&self) -> Option<Json> {
        let Outcome::Succeeded { output, .. } = self.outcome()? else {
            return None;
        };
        let envelope = match output.as_ref()? {
            ValueRef::Inline(envelope) => envelope.clone(),
            ValueRef::Parts { upload, .. } => {
                let parts = self.events().filter_map(|event| match event {
                    Event::Part {
                        upload: of,
                        index,
                        bytes,
                    } if of == upload => Some((*index, bytes.to_vec())),
                    _ => None,
                });
                let parts: BTreeMap<_, _> = parts.collect();
                parts.into_values().flatten().collect::<Vec<_>>().into()
            }
            ValueRef::Stored { .. } => return None,
        };
        let value = Value::from_envelope(envelope).ok()?;
        serde_json::from_slice(&value.leaving(false).ok()?.1).ok()
    }
}

impl Remains {
    pub(crate) fn check(&self) -> Findings {
        let mut findings = Findings::default();
        self.nobody_else(&mut findings.wrong);
        self.harmed_something(&mut findings.wrong);
        self.called_once(&mut findings.wrong);
        let calls = Calls::new(&self.lines, &self.dealt, &self.logs);
        let begun = self.begun.iter().map(|begun| (begun.id.as_str(), begun));
        let begun: HashMap<_, _> = begun.collect();
        // Requests with a sub-flow that was given up.
        let mut bereft = HashSet::new();
        let mut settled = Vec::new();
        for (request, appends) in &self.logs.requests {
            let id = request.to_string();
            let begun = begun.get(id.as_str()).copied();
            let about = match begun.map(|begun| begun.asked) {
                Some(Asked {
                    number,
                    kind,
                    input,
                    ..
                }) => {
                    format!("request {number}, {} of {input} ({id})", kind.name())
                }
                None => format!("sub-flow {id}"),
            };
            match counted(appends) {
                Ok(chain) if chain.is_empty() => {
                    let last = last_events(appends);
                    findings
                        .wrong
                        .push(format!("{about} is not settled: {last}"));
                }
                Ok(chain) => {
                    let seen = Seen { about, id, chain };
                    if self.is_given_up(&seen, &mut findings) {
                        let parent = seen.accepted().and_then(|it| it.parent.as_ref());
                        bereft.extend(parent.map(|parent| parent.request.to_string()));
                    }
                    settled.push((seen, begun));
                }
                Err(why) => findings.wrong.push(format!("{about}: {why}")),
            }
        }
        for (seen, begun) in settled {
            let is_bereft = bereft.contains(&seen.id);
            self.look_at(&seen, begun, is_bereft, &calls, &mut findings);
        }
        findings
    }

    fn look_at(
        &self,
        seen: &Seen<'_>,
        begun: Option<&Begun>,
        is_bereft: bool,
        calls: &Calls<'_>,
        findings: &mut Findings,
    ) {
        once_committed(seen, &mut findings.wrong);
        let Some(begun) = begun else { return };
        if let Some(Outcome::Dead { .. }) = seen.outcome() {
            self.told(seen, begun, &mut findings.wrong);
            return;
        }
        let failed = calls.judge(begun, &seen.about, &seen.id, &seen.chain, findings);
        let wrong = &mut findings.wrong;
        if is_bereft {
            failed_with_its_sub_flow(seen, wrong);
        } else {
            result(seen, begun, failed, wrong);
        }
        self.told(seen, begun, wrong);
        if begun.asked.kind == Kind::Saga {
            self.undone(seen, wrong);
        }
    }

    /// Whether a request, or a sub-flow, was given up, which nobody may be without a reason.
    fn is_given_up(&self, seen: &Seen<'_>, findings: &mut Findings) -> bool {
        if !matches!(seen.outcome(), Some(Outcome::Dead { .. })) {
            return false;
        }
        let has_reason = self.took_replicas_down(seen);
        if has_reason {
            findings.dead += 1;
        } else {
            let about = &seen.about;
            let wrong =
                format!("{about} is dead, and its replicas were neither killed nor stopped");
            findings.wrong.push(wrong);
        }
        has_reason
    }

    /// Whether as many replicas as it takes were killed, or stopped, one after another while they drove a
    /// request, with no step's end in between: then it looks like one that kills them, and is given up.
    fn took_replicas_down(&self, seen: &Seen<'_>) -> bool {
        const ONE_AFTER_ANOTHER: usize = 3;
        let (mut claimed, mut lost) = (None, 0);
        for event in seen.events() {
            match event {
                Event::Claimed { at_us, .. } => {
                    let killed = |dealt: &&Dealt| {
                        let span = claimed.unwrap_or(*at_us)..*at_us;
                        let ends = match dealt.whom {
                            // One that is stopped still is dead to whoever takes its place.
                            Whom::Replica => {
                                dealt.blow != Blow::Stop || dealt.was_felt(*at_us, *at_us)
                            }
                            Whom::Gateway => dealt.blow != Blow::Stop,
                            _ => false,
                        };
                        ends && span.contains(&dealt.begin_us)
                    };
                    lost += usize::from(self.dealt.iter().any(|dealt| killed(&dealt)));
                    claimed = Some(*at_us);
                }
                Event::StepEnded(_) | Event::Delivered { .. } => lost = 0,
                Event::Released { .. } => claimed = None,
                Event::Ended { .. } => break,
                _ => {}
            }
        }
        lost >= ONE_AFTER_ANOTHER
    }

    /// What stands in the logs is what was asked for, each once; and its sub-flows.
    fn nobody_else(&self, wrong: &mut Vec<String>) {
        let mut ids = HashSet::new();
        for begun in &self.begun {
            let (number, id) = (begun.asked.number, &begun.id);
            if !ids.insert(id.clone()) {
                wrong.push(format!("request {number} has the id of another: {id}"));
            }
            if !self
                .logs
                .requests
                .keys()
                .any(|request| request.to_string() == *id)
            {
                wrong.push(format!(
                    "request {number} ({id}) was accepted and has no log"
                ));
            }
            if let Some(answer) = &begun.wrong {
                wrong.push(format!("request {number} ({id}): {answer}"));
            }
        }
        for (request, appends) in &self.logs.requests {
            let is_child = appends.iter().flat_map(|append| &append.events).any(
                |event| matches!(event, Event::Accepted(accepted) if accepted.parent.is_some()),
            );
            if !is_child && !ids.contains(&request.to_string()) {
                wrong.push(format!(
                    "request {request} was begun, and nobody was told of it"
                ));
            }
        }
    }

    /// Every kill met open requests.
    fn harmed_something(&self, wrong: &mut Vec<String>) {
        let spans: Vec<_> = self
            .logs
            .requests
            .values()
            .map(|appends| span(appends))
            .collect();
        for dealt in &self.dealt {
            let at = dealt.begin_us;
            if dealt.blow != Blow::Stop
                && !spans.iter().any(|(from, to)| (*from..*to).contains(&at))
            {
                let (blow, whom) = (dealt.blow, dealt.whom);
                wrong.push(format!("{blow:?} of {whom:?} at {at} met no open request"));
            }
        }
    }

    /// No key of what is called at most once was called twice.
    fn called_once(&self, wrong: &mut Vec<String>) {
        let mut keys = HashSet::new();
        for line in self
            .lines
            .iter()
            .filter(|line| !line.ends && line.path == "once")
        {
            if !keys.insert(&line.key) {
                let (request, step) = (&line.request, &line.step);
                wrong.push(format!(
                    "step {step} of {request} was called twice, and may be once"
                ));
            }
        }
    }

    /// Whoever was to be told of the end was, under one id, as it was.
    fn told(&self, seen: &Seen<'_>, begun: &Begun, wrong: &mut Vec<String>) {
        let words = || {
            self.words
                .iter()
                .filter(|word| word.number == begun.asked.number)
        };
        let about = &seen.about;
        if !begun.asked.is_told {
            if let Some(word) = words().next() {
                wrong.push(format!(
                    "{about} was told to somebody who did not ask: {word:?}"
                ));
            }
            return;
        }
        let ids: BTreeSet<_> = words().map(|word| &word.delivery).collect();
        if ids.len() != 1 {
            wrong.push(format!("{about} was told under {} ids: {ids:?}", ids.len()));
        }
        if !words().any(|word| word.is_taken) {
            wrong.push(format!("{about} was never told to who asked"));
        }
        let status = seen.outcome().map_or("open", Outcome::status);
        let output = seen.output();
        for word in words() {
            let is_right = output.as_ref().is_none_or(|output| *output == word.body);
            if word.request != seen.id || word.status != status || !is_right {
                wrong.push(format!(
                    "{about} ended {status} with {output:?}, and was told so: {word:?}"
                ));
            }
        }
    }

    /// Each step of a saga that was called is undone.
    fn undone(&self, seen: &Seen<'_>, wrong: &mut Vec<String>) {
        let of = |path: &'static str| {
            let lines = self.lines.iter();
            let lines = lines.filter(|line| line.request == seen.id && !line.ends);
            lines
                .filter(move |line| line.path == path)
                .map(|line| line.step.as_str())
        };
        let undone: HashSet<_> = of("undo").collect();
        for step in of("book").collect::<BTreeSet<_>>() {
            if !undone.contains(format!("{step}/~compensate").as_str()) {
                wrong.push(format!(
                    "{}: step {step} was called and not undone",
                    seen.about
                ));
            }
        }
        let trouble = seen.events().find_map(|event| match event {
            Event::Ended { trouble, .. } if !trouble.is_empty() => Some(trouble),
            _ => None,
        });
        if let Some(trouble) = trouble {
            wrong.push(format!("{} was not unwound: {trouble:?}", seen.about));
        }
    }
}

/// Each step has one end that stays until what it gave is lost, and each attempt one end at all.
fn once_committed(seen: &Seen<'_>, wrong: &mut Vec<String>) {
    let (mut ended, mut succeeded) = (HashSet::new(), HashMap::new());
    for event in seen.events() {
        let end = match event {
            Event::StepEnded(end) => end,
            Event::OutputLost { value: lost, .. } => {
                succeeded.retain(|_, value| *value != lost);
                continue;
            }
            _ => continue,
        };
        if let StepEnd::Lost { value: lost } = &end.end {
            succeeded.retain(|_, value| *value != lost);
        }
        let step = (end.generation, end.step.clone());
        let value = match &end.end {
            StepEnd::Succeeded { value } => Some(value),
            _ => None,
        };
        let is_end = value.is_some() || matches!(end.end, StepEnd::Failed { .. });
        if is_end && !ended.insert((step.clone(), end.attempt)) {
            let (step, attempt) = (&end.step, end.attempt);
            wrong.push(format!(
                "{}: attempt {attempt} of {step} ended twice",
                seen.about
            ));
        }
        if value.is_some_and(|value| succeeded.insert(step, value).is_some()) {
            wrong.push(format!("{}: step {} succeeded twice", seen.about, end.step));
        }
    }
    let ends = seen
        .events()
        .filter(|event| matches!(event, Event::Ended { .. }));
    if ends.count() != 1 {
        wrong.push(format!("{} has not one end", seen.about));
    }
}

/// It came to what its flow gives; `failed` where a call that may be made once is known to have failed.
fn result(seen: &Seen<'_>, begun: &Begun, failed: bool, wrong: &mut Vec<String>) {
    let (about, asked) = (&seen.about, begun.asked);
    let Some(outcome) = seen.outcome() else {
        return;
    };
    let flow = seen.accepted().map(|accepted| accepted.flow.to_string());
    if flow.as_deref() != Some(asked.kind.name()) {
        wrong.push(format!("{about} ran {flow:?}"));
    }
    let is_right = match (asked.kind, asked.kind.right(asked.input)) {
        (Kind::Pay, _) if failed => {
            matches!(outcome, Outcome::Failed { step, .. } if step.as_str() == "pay")
        }
        (_, Some(right)) => seen.output() == Some(right),
        (_, None) => matches!(outcome, Outcome::Failed { step, .. } if step.as_str() == "car"),
    };
    if !is_right {
        let found = seen.output();
        wrong.push(format!("{about} ended {outcome:?} ({found:?})"));
    }
}

/// It failed, and not otherwise, by the sub-flow that was given up.
fn failed_with_its_sub_flow(seen: &Seen<'_>, wrong: &mut Vec<String>) {
    let is_right = matches!(
        seen.outcome(),
        Some(Outcome::Failed { message, .. }) if message.contains("the sub-flow is dead")
    );
    if !is_right {
        let (about, outcome) = (&seen.about, seen.outcome());
        wrong.push(format!(
            "{about} ended {outcome:?}, and its sub-flow is dead"
        ));
    }
}

/// From its acceptance to its end.
fn span(appends: &[Append]) -> (u64, u64) {
    let times = appends
        .iter()
        .flat_map(|append| &append.events)
        .map(super::logs::at_us);
    let times = times.filter(|at_us| *at_us > 0);
    times.fold((u64::MAX, 0), |(from, to), at_us| {
        (from.min(at_us), to.max(at_us))
    })
}

fn last_events(appends: &[Append]) -> String {
    let text = format!(
        "{:?}",
        appends
            .last()
            .map(|append| (&append.envelope, &append.events))
    );
    text.chars().take(1_500).collect()
}

impl Dealt {
    /// Whether it was felt within a time.
    pub(crate) const fn was_felt(&self, from_us: u64, to_us: u64) -> bool {
        // What comes after a restart, first connections say, takes its time.
        const AFTER_US: u64 = 1_000_000;
        self.begin_us <= to_us && self.until_us.saturating_add(AFTER_US) >= from_us
    }
}
