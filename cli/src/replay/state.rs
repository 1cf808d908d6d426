//! A request as its events tell: the fold of what they say.
//!
//! Invariant: an event that cannot stand where it does, since one before it is missing, is refused.

use std::collections::HashMap;

use anyhow::{Error, anyhow};

use super::log::Entry;
use super::said::{Said, StepEnded};

#[derive(Debug, Default)]
pub(super) struct State {
    begun: Option<Begun>,
    standing: Standing,
    /// How often it was restarted.
    generation: u32,
    steps: Vec<(String, Step)>,
    at: HashMap<String, usize>,
}

#[derive(Debug)]
struct Begun {
    at_us: i64,
    flow: String,
    version: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Running,
    Sleeping,
    Paused,
    Unwinding,
    Ended(String),
}

/// A step, as far as its events tell.
#[derive(Debug)]
pub(super) struct Step {
    generation: u32,
    pub(super) attempt: u32,
    pub(super) now: Now,
    /// Of its last attempt.
    pub(super) error: Option<String>,
    /// Whether the attempt has ended.
    ended: bool,
    /// Whether its body ran, so that there may be steps in it.
    opened: bool,
    /// Whether that is a graph that was made for it: then no event tells of its end.
    made: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Now {
    Running,
    Sleeping,
    Succeeded,
    Skipped,
    Failed,
    Abandoned,
    /// It is to run anew.
    Again,
}

impl Now {
    /// As `GET /requests/ID` names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Again => "waiting",
        }
    }
}

impl State {
    /// Takes an event. False where it changes nothing.
    pub(super) fn fold(&mut self, entry: &Entry) -> Result<bool, Error> {
        let said = &entry.said;
        self.refuse_gap(said)
            .map_err(|why| anyhow!("line {}: {why}", entry.line))?;
        let is_over = matches!(self.standing, Standing::Ended(_));
        match said {
            Said::Accepted {
                at: _,
                flow,
                version,
                ..
            } => {
                self.begun = Some(Begun {
                    at_us: said.at_us(),
                    flow: flow.clone(),
                    version: version.clone(),
                });
            }
            Said::StepStarted(begun) => {
                return Ok(self.begins(&begun.step, begun.attempt, Now::Running));
            }
            Said::StepCalled(begun) => {
                return Ok(self.begins(&begun.step, begun.attempt, Now::Sleeping));
            }
            Said::StepEnded(ended) => return Ok(self.step_ended(ended)),
            Said::RestartAsked { version, .. } => self.restart(version.as_deref()),
            Said::Ended { status, step, .. } => return Ok(self.end(status, step.as_deref())),
            // What is told after the end changes how it stands no more.
            Said::Delivered { .. } | Said::Closing { .. } | Said::Settled { .. } => {}
            _ if is_over => {
                return Ok(matches!(said, Said::Claimed { .. } | Said::Released { .. }));
            }
            Said::Claimed { .. } | Said::Ticked { .. } if self.standing == Standing::Sleeping => {
                self.standing = Standing::Running;
            }
            Said::Released { .. } if self.standing == Standing::Running => {
                self.standing = Standing::Sleeping;
            }
            Said::PauseAsked { .. } => self.standing = Standing::Paused,
            Said::ResumeAsked { .. } if self.standing == Standing::Paused => {
                self.standing = Standing::Running;
            }
            Said::CancelAsked { .. } | Said::OutputFailed { .. } => {
                self.standing = Standing::Unwinding;
            }
            _ => {}
        }
        Ok(true)
    }

    /// Why an event cannot come here: something before it is missing.
    fn refuse_gap(&self, said: &Said) -> Result<(), String> {
        let name = said.name();
        let is_begun = self.begun.is_some();
        match said {
            Said::Accepted { .. } if is_begun => {
                return Err("a second request is accepted; give the log of one request".to_owned());
            }
            Said::Accepted { .. } => {}
            _ if !is_begun => {
                return Err(format!(
                    "the log begins with {name} and not with accepted: its head is missing, or has expired and the server goes on from a snapshot; print it from its start, or look at `turlough request ID --at SEQ`"
                ));
            }
            _ => {}
        }
        let gap = |what: &str| {
            Err(format!(
                "there is a gap before it: {what}; print the log anew"
            ))
        };
        let is_over = matches!(self.standing, Standing::Ended(_));
        match said {
            Said::Delivered { .. } | Said::Closing { .. } | Said::Settled { .. } if !is_over => {
                gap(&format!("it is {name}, and no line says that it ended"))
            }
            Said::RestartAsked { .. } if !is_over => {
                gap("it is restarted, and no line says that it ended")
            }
            Said::StepEnded(ended) if ended.generation > self.generation => gap(&format!(
                "step {} ended after {} restarts, and {} came before",
                ended.step, ended.generation, self.generation
            )),
            Said::StepStarted(begun) | Said::StepCalled(begun) => {
                match self.unopened(&begun.step) {
                    Some(above) => gap(&above),
                    None => Ok(()),
                }
            }
            Said::StepEnded(ended) => match self.unopened(&ended.step) {
                Some(above) => gap(&above),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The step in whose body a step stands, where no event said that the body runs.
    fn unopened(&self, step: &str) -> Option<String> {
        let above = bodies(step).find(|above| {
            let found = self.at.get(*above).map(|at| &self.steps[*at].1);
            !found.is_some_and(|found| found.opened)
        })?;
        Some(format!(
            "step {step} is in the body of {above}, and no line says that it runs"
        ))
    }

    /// An attempt that has begun. False for one that is over.
    fn begins(&mut self, step: &str, attempt: u32, now: Now) -> bool {
        let generation = self.generation;
        self.unwinds(step);
        let step = self.step(step);
        if (generation, attempt) < (step.generation, step.attempt)
            || ((generation, attempt) == (step.generation, step.attempt) && step.ended)
        {
            return false;
        }
        (step.generation, step.attempt) = (generation, attempt);
        (step.now, step.ended) = (now, false);
        true
    }

    /// The end of an attempt. False for one that comes too late, or a second time.
    fn step_ended(&mut self, ended: &StepEnded) -> bool {
        self.unwinds(&ended.step);
        let step = self.step(&ended.step);
        let (found, known) = (
            (ended.generation, ended.attempt),
            (step.generation, step.attempt),
        );
        if found < known || (found == known && step.ended) {
            return false;
        }
        (step.generation, step.attempt) = found;
        step.ended = true;
        step.opened |= ended.opens();
        step.made |= ended.graph_bytes.is_some();
        step.error.clone_from(&ended.error);
        step.now = match ended.status.as_str() {
            "succeeded" => Now::Succeeded,
            "skipped" => Now::Skipped,
            "sleeping" => Now::Sleeping,
            "failed" => Now::Failed,
            "lost" => Now::Again,
            _ => Now::Running,
        };
        true
    }

    /// Handlers and compensations run once it is decided how the request ends.
    fn unwinds(&mut self, step: &str) {
        let mut segments = step.split('/');
        let handles = segments.any(|s| matches!(s, "~on_failure" | "~finally" | "~compensate"));
        if handles && !matches!(self.standing, Standing::Ended(_)) {
            self.standing = Standing::Unwinding;
        }
    }

    /// The end of the request. False for a second one.
    fn end(&mut self, status: &str, culprit: Option<&str>) -> bool {
        if matches!(self.standing, Standing::Ended(_)) {
            return false;
        }
        self.standing = Standing::Ended(status.to_owned());
        let through = self.steps.iter();
        let through = through.map(|(path, step)| step.made && self.is_through(path));
        let through: Vec<bool> = through.collect();
        for ((path, step), is_through) in self.steps.iter_mut().zip(through) {
            let is_at_fault = culprit.is_some_and(|culprit| {
                let inside = culprit.strip_prefix(path.as_str());
                inside.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '[', '#']))
            });
            match step.now {
                _ if is_at_fault => step.now = Now::Failed,
                // What runs a body has no end of its own.
                Now::Running if is_through => step.now = Now::Succeeded,
                Now::Running | Now::Sleeping if status == "succeeded" => step.now = Now::Succeeded,
                Now::Running | Now::Sleeping | Now::Again => step.now = Now::Abandoned,
                Now::Succeeded | Now::Skipped | Now::Failed | Now::Abandoned => {}
            }
        }
        true
    }

    /// Whether steps inside this one are known, and none of them is open.
    fn is_through(&self, path: &str) -> bool {
        let is_inside = |other: &str| {
            let rest = other.strip_prefix(path);
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let mut found = false;
        for (_, step) in self.steps.iter().filter(|(other, _)| is_inside(other)) {
            found = true;
            if !matches!(step.now, Now::Succeeded | Now::Skipped) {
                return false;
            }
        }
        found
    }

    fn restart(&mut self, version: Option<&str>) {
        self.standing = Standing::Running;
        self.generation += 1;
        if let (Some(version), Some(begun)) = (version, &mut self.begun) {
            version.clone_into(&mut begun.version);
        }
        for (_, step) in &mut self.steps {
            if matches!(step.now, Now::Failed | Now::Abandoned) {
                step.now = Now::Again;
            }
        }
    }

    fn step(&mut self, path: &str) -> &mut Step {
        let next = self.steps.len();
        let at = *self.at.entry(path.to_owned()).or_insert(next);
        if at == next {
            let step = Step {
                generation: 0,
                attempt: 0,
                now: Now::Running,
                error: None,
                ended: false,
                opened: false,
                made: false,
            };
            self.steps.push((path.to_owned(), step));
        }
        &mut self.steps[at].1
    }

    /// As `GET /requests/ID` names it.
    pub(super) fn status(&self) -> &str {
        match &self.standing {
            Standing::Running => "running",
            Standing::Sleeping => "sleeping",
            Standing::Paused => "paused",
            Standing::Unwinding => "unwinding",
            Standing::Ended(status) => status,
        }
    }

    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn flow(&self) -> &str {
        self.begun.as_ref().map_or("", |begun| &begun.flow)
    }

    pub(super) fn version(&self) -> &str {
        self.begun.as_ref().map_or("", |begun| &begun.version)
    }

    /// From the request's begin, in µs; below 0 where another machine's clock is behind.
    pub(super) fn since_us(&self, at_us: i64) -> i64 {
        self.begun.as_ref().map_or(0, |begun| at_us - begun.at_us)
    }

    /// Every step, in the order in which they were first named.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, &Step)> {
        self.steps.iter().map(|(path, step)| (path.as_str(), step))
    }

    /// Paths of steps by how they stand.
    pub(super) fn groups(&self) -> [(&'static str, Vec<&str>); 4] {
        let all = |wanted: &[Now]| {
            let rows = self.rows().filter(|(_, step)| wanted.contains(&step.now));
            rows.map(|(path, _)| path).collect::<Vec<_>>()
        };
        [
            ("running", all(&[Now::Running])),
            ("waiting", all(&[Now::Sleeping, Now::Again])),
            ("failed", all(&[Now::Failed, Now::Abandoned])),
            ("done", all(&[Now::Succeeded, Now::Skipped])),
        ]
    }
}

/// The steps in whose bodies a path stands: `a[1]` and `a[1]/b#2` of `a[1]/b#2/c` as `a` and `a[1]/b`.
/// Handlers and compensations are nobody's body.
fn bodies(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.char_indices().filter(|(_, c)| *c == '/');
    ends.filter_map(|(end, _)| {
        let (before, after) = (&path[..end], &path[end + 1..]);
        let last = before.rfind('/').map_or(0, |at| at + 1);
        if before[last..].starts_with('~') || after.starts_with('~') {
            return None;
        }
        let node = before[last..].find(['[', '#']).map_or(end, |at| last + at);
        Some(&path[..node])
    })
}
