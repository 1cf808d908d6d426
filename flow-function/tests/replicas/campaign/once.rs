//! Calls that may be made once at most: how each is known to have ended, and whether that is right.
//!
//! An end is right only with what excuses it. *Unknown*: the driver that stored the start was harmed
//! before another claimed the request; nobody who lives holds an answer. *Unanswered* and *timeout*: the
//! function, the gateway, or the caller was harmed while it ran. *Transient*: the same, and no function
//! got the call. So there are no more of them than calls that were in flight at a blow.

use std::collections::HashMap;

use turlough_sdk::{Cause, ReplicaId};
use turlough_statestore::event::StepEnd;
use turlough_statestore::{Append, Event};

use super::checks::Findings;
use super::counters::Line;
use super::harm::{Blow, Dealt, Whom};
use super::load::Begun;
use super::logs::{Logs, at_us};

/// What is known of all calls.
#[derive(Debug)]
pub(crate) struct Calls<'a> {
    /// Of each step, when its calls began and when they ended.
    lines: HashMap<(&'a str, &'a str), Vec<&'a Line>>,
    dealt: &'a [Dealt],
    /// When each replica was last known to write.
    alive_us: HashMap<ReplicaId, u64>,
}

/// A step that may be called once, as its log tells.
#[derive(Debug, Default)]
struct Step {
    started: Option<(u64, ReplicaId)>,
    /// Which attempt it is; its fallback is another.
    attempt: u32,
    /// The next claim by another.
    taken_over_us: Option<u64>,
    failed: Option<(u64, Cause)>,
    succeeded: bool,
}

impl<'a> Calls<'a> {
    pub(crate) fn new(lines: &'a [Line], dealt: &'a [Dealt], logs: &Logs) -> Self {
        let mut by_step: HashMap<_, Vec<_>> = HashMap::new();
        for line in lines.iter().filter(|line| line.path == "once") {
            let step = (line.request.as_str(), line.step.as_str());
            by_step.entry(step).or_default().push(line);
        }
        let mut alive_us = HashMap::new();
        for append in logs.requests.values().flatten() {
            let newest = append.events.iter().map(at_us).max().unwrap_or(0);
            let last = alive_us.entry(append.envelope.replica).or_insert(0);
            *last = newest.max(*last);
        }
        Self {
            lines: by_step,
            dealt,
            alive_us,
        }
    }

    /// Judges the steps of a request. Whether one of them is known to have failed.
    pub(crate) fn judge(
        &self,
        begun: &Begun,
        about: &str,
        id: &str,
        chain: &[&Append],
        findings: &mut Findings,
    ) -> bool {
        let mut any = false;
        for name in begun.asked.kind.once() {
            let step = Step::of(name, chain);
            let none = Vec::new();
            let lines = self.lines.get(&(id, *name)).unwrap_or(&none);
            let (kind, why) = self.judged(&step, lines);
            *findings.once.entry(kind).or_default() += 1;
            if let Some(why) = why {
                let wrong = format!("{about}: step {name} ended {kind}, {why}: {step:?} {lines:?}");
                findings.wrong.push(wrong);
            }
            any |= step.failed.is_some() || step.is_unknown();
        }
        any
    }

    /// How a step ended, and why that is not right.
    fn judged(&self, step: &Step, lines: &[&Line]) -> (&'static str, Option<&'static str>) {
        let calls = lines.iter().filter(|line| !line.ends).count();
        if calls > 1 {
            return ("called twice", Some("and may be called once"));
        }
        if step.is_unknown() {
            return ("unknown", self.unknown(step));
        }
        let Some((ended_us, cause)) = step.failed else {
            let is_answered = lines.iter().any(|line| line.ends);
            let why = (!is_answered).then_some("and no function ended it");
            return ("succeeded", why);
        };
        let begun_us = step.started.map_or(0, |(at_us, _)| at_us);
        let felt = |whom: &[Whom], to_us| {
            let mut dealt = self.dealt.iter();
            dealt.any(|dealt| whom.contains(&dealt.whom) && dealt.was_felt(begun_us, to_us))
        };
        match cause {
            Cause::Unanswered | Cause::Timeout => {
                let whom = [Whom::Function, Whom::Gateway, Whom::Replica];
                let why = (!felt(&whom, ended_us)).then_some("and nothing was harmed");
                ("unanswered", why)
            }
            Cause::Transient if calls > 0 => ("unmade", Some("and was made")),
            Cause::Transient => {
                let whom = [Whom::Function, Whom::Gateway];
                let why = (!felt(&whom, ended_us)).then_some("and nothing was harmed");
                ("unmade", why)
            }
            Cause::Permanent | Cause::Panic | Cause::Unknown => {
                ("failed", Some("and no function says so"))
            }
        }
    }

    /// Why nobody can be said not to know.
    fn unknown(&self, step: &Step) -> Option<&'static str> {
        let (Some((started_us, replica)), Some(taken_us)) = (step.started, step.taken_over_us)
        else {
            return Some("and nobody took it over");
        };
        let lives = self
            .alive_us
            .get(&replica)
            .is_some_and(|at_us| *at_us > taken_us);
        // Whoever was killed wrote the start before, and nothing after.
        let ended = |dealt: &Dealt| (started_us..=taken_us).contains(&dealt.begin_us);
        let felt = |dealt: &Dealt| dealt.was_felt(started_us, taken_us);
        let excuses = |dealt: &Dealt| match (dealt.whom, dealt.blow) {
            (Whom::Replica | Whom::Gateway, Blow::Kill) => !lives && ended(dealt),
            (Whom::Replica | Whom::Gateway, Blow::Term) => ended(dealt),
            (Whom::Replica, Blow::Stop) => felt(dealt),
            // Its heartbeat may have ended while it lived.
            (Whom::State, _) => lives && felt(dealt),
            _ => false,
        };
        let is_excused = self.dealt.iter().any(excuses);
        (!is_excused).then_some("and its driver was not harmed")
    }
}

impl Step {
    fn of(name: &str, chain: &[&Append]) -> Self {
        let mut step = Self::default();
        for append in chain {
            for event in &append.events {
                step.learn(name, event, append.envelope.replica);
            }
        }
        step
    }

    fn learn(&mut self, name: &str, event: &Event, writer: ReplicaId) {
        match event {
            Event::StepStarted {
                step,
                attempt,
                at_us,
            } if step.as_str() == name => {
                self.started = Some((*at_us, writer));
                self.attempt = *attempt;
                self.taken_over_us = None;
            }
            Event::Claimed { replica, at_us, .. }
                if self.started.is_some_and(|(_, starter)| starter != *replica) =>
            {
                self.taken_over_us.get_or_insert(*at_us);
            }
            Event::StepEnded(ended)
                if ended.step.as_str() == name && ended.attempt == self.attempt =>
            {
                match &ended.end {
                    StepEnd::Failed { cause, .. } => self.failed = Some((ended.end_us, *cause)),
                    StepEnd::Succeeded { .. } => self.succeeded = true,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Its start stands there, and no end: its time went by.
    const fn is_unknown(&self) -> bool {
        self.started.is_some() && self.failed.is_none() && !self.succeeded
    }
}
