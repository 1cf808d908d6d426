//! Random schedules: successes, failures by every cause, ticks, crashes, controls, lost data.

use turlough_sdk::Cause;
use turlough_statestore::event::StepEnd;
use turlough_statestore::{Append, Event, Kind, Seq};

use super::plain::How;
use super::undo::Unwound;
use super::world::{Want, World, replica, request};
use crate::machine::{Action, Execution};

/// A request that takes longer than this many events does not end.
const EVENTS_MAX: usize = 5_000;

impl World {
    pub(super) fn play(&mut self) {
        let mut wild = 10 + self.dice.roll(120);
        loop {
            assert!(self.size.events < EVENTS_MAX, "it does not end");
            if self.plain.ended {
                if !self.after_end() {
                    return;
                }
                wild = self.dice.roll(40);
            } else if self.plain.phase == Unwound::Over {
                assert!(self.told_end, "its end is not told");
                if self.dice.chance(10) {
                    self.crash();
                    continue;
                }
                let last = self.without_output().unwrap_or_else(|| self.ended_event());
                self.drive(vec![last]);
            } else if wild > 0 {
                wild -= 1;
                self.something();
            } else {
                self.on_with_it();
            }
        }
    }

    /// Now and then the output of what succeeded cannot be had.
    fn without_output(&mut self) -> Option<Event> {
        let at_us = self.plain.now;
        let Some(How::Succeeded(output)) = self.plain.how.clone() else {
            return None;
        };
        match self.dice.roll(100) {
            0..30 => {
                let value = self.lost_of(vec![output])?;
                Some(Event::OutputLost { value, at_us })
            }
            30 => Some(Event::OutputFailed {
                message: "no".to_owned(),
                cause: Cause::Permanent,
                at_us,
            }),
            _ => None,
        }
    }

    fn something(&mut self) {
        match self.dice.roll(100) {
            0..=1 => self.crash(),
            2 => self.control(|at_us| Event::PauseAsked { at_us }, |_| true),
            3..=5 => self.control(|at_us| Event::ResumeAsked { at_us }, |paused| paused),
            6 if self.dice.chance(30) => {
                self.control(|at_us| Event::CancelAsked { at_us }, |_| true);
            }
            7..=8 => self.signal(),
            9..=10 => self.late(),
            11..=15 => self.tick(),
            16 => self.stale(),
            17 => self.snapshot = Some(self.take_snapshot()),
            _ => self.on_with_it(),
        }
    }

    /// Something that brings it nearer to its end.
    fn on_with_it(&mut self) {
        let mut events = Vec::new();
        for _ in 0..=self.dice.roll(3) {
            let starts: Vec<_> = self
                .starts
                .iter()
                .map(|(path, number)| (path.clone(), *number))
                .collect();
            let running: Vec<_> = self.running.keys().cloned().collect();
            let taken = |path: &str, events: &[Event]| {
                events.iter().any(|event| match event {
                    Event::StepEnded(ended) => ended.step.as_str() == path,
                    Event::StepStarted { step, .. } | Event::StepCalled { step, .. } => {
                        step.as_str() == path
                    }
                    _ => false,
                })
            };
            if !starts.is_empty() && (running.is_empty() || self.dice.chance(50)) {
                let (path, attempt) = starts[self.dice.roll(starts.len())].clone();
                if !taken(&path, &events) {
                    events.push(Event::StepStarted {
                        step: path.as_str().into(),
                        attempt,
                        at_us: self.plain.now,
                    });
                }
            } else if !running.is_empty() {
                let path = running[self.dice.roll(running.len())].clone();
                if !taken(&path, &events) {
                    let run = self.running[&path].clone();
                    events.push(self.end(&path, &run));
                }
            }
            if let Some(old) = self.old.last().filter(|_| self.dice.chance(8)) {
                events.push(Event::StepEnded(old.clone()));
            }
        }
        if !events.is_empty() {
            return self.drive(events);
        }
        if self.plain.paused {
            return self.control(|at_us| Event::ResumeAsked { at_us }, |paused| paused);
        }
        let remote = self
            .remote
            .iter()
            .next()
            .map(|(path, number)| (path.clone(), *number));
        match remote {
            Some((path, attempt)) if self.dice.chance(80) => self.callback(&path, attempt),
            _ => self.tick_to_next(),
        }
    }

    fn callback(&mut self, path: &str, attempt: u32) {
        let end = if self.dice.chance(75) {
            let value = self.fresh_value(path);
            StepEnd::Succeeded { value }
        } else {
            self.failure()
        };
        self.external(path, attempt, self.plain.generation, end);
    }

    fn external(&mut self, path: &str, attempt: u32, generation: u32, end: StepEnd) {
        let mut ended = self.end_of(path, attempt, end);
        ended.generation = generation;
        ended.epoch = self.dice.roll(self.epoch as usize + 1) as u64;
        let open = self.plain.open_attempt(path);
        let counts = generation == self.plain.generation && open == Some((Some(attempt), true));
        self.old.push(ended.clone());
        self.tell_of(Event::StepEnded(ended), counts);
    }

    /// The end of an attempt whose driver is gone, or a forged or late one.
    fn late(&mut self) {
        if self.offline.is_empty() {
            if let Some(old) = self.old.get(self.dice.roll(self.old.len().max(1))).cloned() {
                self.external(old.step.as_str(), old.attempt, old.generation, old.end);
            }
            return;
        }
        let at = self.dice.roll(self.offline.len());
        let (run, generation) = self.offline.swap_remove(at);
        let path = run.step.to_string();
        let end = if self.dice.chance(70) {
            self.success(&path, &run)
        } else {
            self.failure()
        };
        self.external(&path, run.attempt, generation, end);
    }

    /// An append of a driver whose claim is over, or after one that does not count.
    fn stale(&mut self) {
        let at_us = self.plain.now;
        let event = match self.running.values().next().cloned() {
            Some(run) => self.end(&run.step.to_string(), &run),
            None => Event::CancelAsked { at_us },
        };
        let mut envelope = self.envelope(Kind::Driver, self.epoch);
        let mut events = vec![event];
        match self.dice.roll(3) {
            0 => envelope.epoch -= 1,
            1 => envelope.after = Some(turlough_statestore::AppendId(u128::MAX)),
            _ => events.push(Event::Claimed {
                replica: replica(),
                epoch: self.epoch,
                at_us,
            }),
        }
        let append = Append::new(envelope, events);
        assert!(
            !self.live.fold(&append),
            "an append of an older claim counts"
        );
        self.log.push(append);
        self.tell();
    }

    fn control(&mut self, event: impl Fn(u64) -> Event, allowed: impl Fn(bool) -> bool) {
        let counts = self.plain.phase == Unwound::Open && allowed(self.plain.paused);
        self.tell_of(event(self.plain.now), counts);
    }

    fn signal(&mut self) {
        let name = format!("s{}", self.dice.roll(2));
        if self
            .plain
            .signals
            .get(&name)
            .is_some_and(|kept| !kept.is_empty())
        {
            return;
        }
        let data = self.dice.next();
        let value = self.place(data);
        let counts = self.plain.phase == Unwound::Open;
        self.tell_of(
            Event::Signalled {
                name,
                value,
                at_us: self.plain.now,
            },
            counts,
        );
    }

    fn tick(&mut self) {
        let at_us = self.plain.now + self.dice.roll(7_000_000) as u64;
        self.drive(vec![Event::Ticked { at_us }]);
    }

    fn tick_to_next(&mut self) {
        let due = self
            .live
            .wake_at_us()
            .expect("nothing runs, and nothing is due");
        assert!(due < u64::MAX, "nothing is ever due");
        let at_us = due.max(self.plain.now);
        self.drive(vec![Event::Ticked { at_us }]);
    }

    /// A driver is lost: another one reads the log, wants what is wanted, and claims.
    pub(super) fn crash(&mut self) {
        let mut folded = self.fold();
        let mut wants: Vec<_> = folded
            .next_actions()
            .into_iter()
            .filter_map(wanted)
            .collect();
        wants.sort();
        assert_eq!(wants, self.wanted(false), "what a fold of the log wants");
        self.live = if self.dice.chance(30) {
            self.restore()
        } else {
            self.fold()
        };
        let gone = std::mem::take(&mut self.running);
        let mut uncalled = Vec::new();
        for (path, run) in gone {
            let open = self.plain.open_attempt(&path);
            let is_begun = open.is_some_and(|(_, begun)| begun);
            if is_begun && self.dice.chance(10) && !path.contains('~') {
                // The driver that goes on knows that it was not called.
                uncalled.push((path, run.attempt));
                continue;
            }
            if self.dice.chance(30) {
                // It had ended, and its driver was lost before it could say so.
                let _ = self.end(&path, &run);
            }
            if is_begun {
                self.offline.push((run, self.plain.generation));
            }
        }
        self.starts.clear();
        self.told_end = false;
        self.epoch += 1;
        let claimed = Event::Claimed {
            replica: replica(),
            epoch: self.epoch,
            at_us: self.plain.now,
        };
        self.drive(vec![claimed]);
        for (path, attempt) in uncalled {
            self.uncalled(&path, attempt);
        }
    }

    /// A start is recorded once more: it was not called.
    fn uncalled(&mut self, path: &str, attempt: u32) {
        let generation = self.plain.generation;
        self.called.retain(|(at, step, _), number| {
            *at != generation || step != path || *number != attempt
        });
        let started = Event::StepStarted {
            step: path.into(),
            attempt,
            at_us: self.plain.now,
        };
        self.drive(vec![started]);
    }

    /// A machine that was read from a snapshot, and of what was appended after it.
    fn restore(&mut self) -> Execution {
        let (bytes, place) = self.snapshot.take().unwrap_or_else(|| self.take_snapshot());
        let restored = Execution::restore(request(), self.versions.clone(), &bytes);
        let (mut execution, of) = restored.expect("a restored machine");
        assert_eq!(of.to_string(), place.to_string(), "a snapshot's place");
        for append in &self.log[place..] {
            execution.fold(append);
        }
        execution
    }

    fn take_snapshot(&self) -> (Vec<u8>, usize) {
        let place: Seq = self.log.len().to_string().parse().unwrap();
        (
            self.live.snapshot(place).expect("a snapshot"),
            self.log.len(),
        )
    }

    fn fold(&self) -> Execution {
        let mut folded = Execution::new(request(), self.flow.clone(), self.versions.clone());
        for append in &self.log {
            folded.fold(append);
        }
        folded
    }

    /// Whether it goes on after its end.
    fn after_end(&mut self) -> bool {
        assert!(self.live.is_ended());
        self.running.clear();
        self.remote.clear();
        for _ in 0..2 {
            self.late();
        }
        let at_us = self.plain.now;
        if self.dice.chance(20) {
            self.tell_of(Event::CancelAsked { at_us }, false);
        }
        let succeeded = matches!(self.plain.how, Some(How::Succeeded(_)));
        let from = self.dice.chance(50).then(|| {
            let steps: Vec<_> = self
                .numbers
                .keys()
                .filter(|path| !path.contains('~'))
                .collect();
            steps
                .get(self.dice.clone().roll(steps.len().max(1)))
                .map(|path| (*path).clone())
        });
        let from = from.flatten();
        let other = self.other.clone().filter(|_| self.dice.chance(30));
        let fits = from.as_ref().is_none_or(|from| {
            let root = from.split(['/', '[', '#']).next().unwrap();
            let has = |flow: &turlough_sdk::Flow| {
                flow.graph()
                    .nodes
                    .iter()
                    .any(|node| node.id.as_str() == root)
            };
            self.plain.may_have(from)
                && has(&self.plain.flow)
                && other.as_ref().is_none_or(|flow| has(flow))
        });
        let restart = Event::RestartAsked {
            from: from.as_deref().map(Into::into),
            version: other.as_ref().map(|flow| flow.version().to_string()),
            deadline_us: at_us + 100_000_000,
            at_us,
        };
        if self.restarts < 2 && self.dice.chance(60) && !succeeded {
            self.restarts += 1;
            self.told_end = false;
            self.tell_of(restart, fits);
            return true;
        }
        if succeeded {
            self.tell_of(restart.clone(), false);
        }
        self.drive(vec![Event::Closing { at_us }]);
        self.tell_of(restart, false);
        false
    }
}

fn wanted(action: Action) -> Option<(String, Want)> {
    match action {
        Action::Start { step, .. } => Some((step.to_string(), Want::Start)),
        Action::Run(run) => Some((run.step.to_string(), Want::Run)),
        Action::Stop { .. } | Action::End(_) => None,
    }
}
