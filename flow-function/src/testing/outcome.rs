//! How a request ended: its output or its failure, and its steps; with what a test asserts of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use turlough_sdk::{Body, RequestId, StepPath, Value};
use turlough_statestore::event::{Outcome as Ended, StepEnd};
use turlough_statestore::{Event, Record};

use crate::engine::{ControlError, Engine};
use crate::shared::Finished;
use crate::view::{self, Begins, Subject};

/// How a request ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    request: RequestId,
    flow: String,
    output: Option<Value>,
    failed: Option<Failed>,
    seen: Seen,
}

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// `failed`, `timed_out`, `cancelled` or `dead`.
    pub status: &'static str,
    /// The step by which it failed; none where it was none.
    pub step: Option<String>,
    /// What went wrong.
    pub error: String,
}

/// A step of a request: a node of its flow, or of a body that ran.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its path, such as `months[3]/clean`.
    pub path: String,
    /// As `GET /requests/ID` names it, such as `succeeded`, `failed`, `skipped`, `not_reached`.
    pub status: String,
    /// How often its operation was tried: 0 for one that did not run, such as by its `when`.
    pub attempts: usize,
    /// Why it failed last, where it did.
    pub error: Option<String>,
    /// All that `GET /requests/ID` says of it.
    pub document: Json,
}

/// A request as it stands.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    document: Json,
    pub(super) steps: Vec<Step>,
}

impl Outcome {
    pub(super) fn new(
        (flow, request): (String, RequestId),
        finished: Finished,
        seen: Seen,
    ) -> Self {
        let failed = |step: Option<String>, error: String| Failed {
            status: finished.outcome.status(),
            step,
            error,
        };
        let failed = match &finished.outcome {
            Ended::Succeeded { .. } => None,
            Ended::Failed { step, message, .. } => {
                Some(failed(Some(step.to_string()), message.clone()))
            }
            Ended::TimedOut => Some(failed(
                None,
                "it took longer than its flow's timeout".into(),
            )),
            Ended::Dead { message } => Some(failed(None, message.clone())),
            Ended::Cancelled => Some(failed(None, "it was cancelled".into())),
        };
        Self {
            request,
            flow,
            output: finished.output,
            failed,
            seen,
        }
    }

    /// The request's id.
    #[must_use]
    pub const fn id(&self) -> RequestId {
        self.request
    }

    /// `succeeded`, `failed`, `timed_out`, `cancelled` or `dead`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        self.failed
            .as_ref()
            .map_or("succeeded", |failed| failed.status)
    }

    /// Why it did not succeed; none where it did.
    #[must_use]
    pub const fn failed(&self) -> Option<&Failed> {
        self.failed.as_ref()
    }

    /// The output, read from JSON or MessagePack.
    ///
    /// # Panics
    /// A request that did not succeed; an output that is no `T`.
    #[must_use]
    #[track_caller]
    pub fn output<T: DeserializeOwned>(&self) -> T {
        match self.value().decode() {
            Ok(output) => output,
            Err(error) => panic!("the output of {self}\nis not what was expected: {error}"),
        }
    }

    /// The output as a caller gets it: data as JSON, other things as they are.
    ///
    /// # Panics
    /// A request that did not succeed.
    #[must_use]
    #[track_caller]
    pub fn output_body(&self) -> Body {
        match self.value().leaving(false) {
            Ok((content_type, bytes)) => Body {
                content_type,
                bytes,
            },
            Err(error) => panic!("the output of {self}\ncannot be written: {error}"),
        }
    }

    /// Every step: those that began in the order in which they did, those of bodies after their node,
    /// and then the others.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.seen.steps
    }

    /// A step.
    ///
    /// # Panics
    /// A path that no step has.
    #[must_use]
    #[track_caller]
    pub fn step(&self, path: &str) -> &Step {
        match self.seen.find(path) {
            Some(step) => step,
            None => panic!("no step {path} in {self}"),
        }
    }

    /// All that `GET /requests/ID` says of the request.
    #[must_use]
    pub const fn document(&self) -> &Json {
        &self.seen.document
    }

    /// The request succeeded.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    pub fn assert_succeeded(&self) -> &Self {
        assert!(self.failed.is_none(), "expected succeeded, found {self}");
        self
    }

    /// The request failed by this step. It returns why.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    pub fn assert_failed(&self, step: &str) -> &Failed {
        match &self.failed {
            Some(failed) if failed.step.as_deref() == Some(step) => failed,
            _ => panic!("expected a failure of step {step}, found {self}"),
        }
    }

    /// The request succeeded, with this output.
    ///
    /// # Panics
    /// It did not, or its output is another.
    #[track_caller]
    pub fn assert_output(&self, expected: &Json) -> &Self {
        let found: Json = self.output();
        assert!(
            found == *expected,
            "output: expected {expected}, found {found}\nof {self}"
        );
        self
    }

    /// A step stands so, such as `succeeded`, `failed`, `skipped` or `not_reached`.
    ///
    /// # Panics
    /// It does not, or there is no such step.
    #[track_caller]
    pub fn assert_step(&self, path: &str, status: &str) -> &Self {
        let found = &self.step(path).status;
        assert!(
            found == status,
            "step {path}: expected {status}, found {found} in {self}"
        );
        self
    }

    /// A step was tried so often.
    ///
    /// # Panics
    /// It was not, or there is no such step.
    #[track_caller]
    pub fn assert_attempts(&self, path: &str, attempts: usize) -> &Self {
        let found = self.step(path).attempts;
        assert!(
            found == attempts,
            "step {path}: expected {}, found {} in {self}",
            count(attempts),
            count(found)
        );
        self
    }

    #[track_caller]
    fn value(&self) -> &Value {
        match (&self.failed, &self.output) {
            (None, Some(value)) => value,
            (None, None) => panic!("the output is too large to be kept, of {self}"),
            (Some(_), _) => panic!("expected an output, found {self}"),
        }
    }
}

/// How it ended, and a line for each step.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flow, request) = (&self.flow, self.request);
        write!(f, "flow {flow}, request {request}: {}", self.status())?;
        if let Some(failed) = &self.failed {
            match &failed.step {
                Some(step) => write!(f, " by step {step}: {}", failed.error)?,
                None => write!(f, ": {}", failed.error)?,
            }
        }
        write!(f, "{}", self.seen)
    }
}

/// A line for each step.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: fn(&Step) -> &str| {
            let widths = self.steps.iter().map(|step| text(step).chars().count());
            widths.max().unwrap_or(0)
        };
        let (path, status) = (width(|step| &step.path), width(|step| &step.status));
        f.write_str("\nits steps:")?;
        for step in &self.steps {
            let mut line = format!("  {:path$}  {:status$}", step.path, step.status);
            if step.attempts > 0 {
                line.push_str(&format!("  {}", count(step.attempts)));
            }
            if let Some(error) = &step.error {
                line.push_str(&format!(": {error}"));
            }
            write!(f, "\n{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Seen {
    /// A request as its log tells now.
    pub(super) async fn now(engine: &Engine, request: RequestId) -> Result<Self, ControlError> {
        let records = engine.records(request).await?;
        let tried = tried(&records);
        let mut events = records.iter().flat_map(|record| &record.append.events);
        let accepted = events.find_map(|event| match event {
            Event::Accepted(accepted) => Some(accepted),
            _ => None,
        });
        let flow = accepted.and_then(|accepted| {
            let flow = engine.definition(&accepted.flow, &accepted.version)?;
            let versions = engine.shared.registry.versions(&accepted.flow);
            Some((flow, versions))
        });
        let subject = Subject {
            request,
            begins: Begins::Head(flow),
            records,
            children: Vec::new(),
        };
        let document = view::request(&subject).ok_or(ControlError::Unknown(request))?;
        let steps = document["steps"].as_array();
        let steps = steps
            .into_iter()
            .flatten()
            .map(|step| Step::of(step, &tried));
        Ok(Self {
            steps: steps.collect(),
            document,
        })
    }

    pub(super) fn find(&self, path: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.path == path)
    }
}

impl Step {
    fn of(document: &Json, tried: &BTreeMap<StepPath, usize>) -> Self {
        let text = |name: &str| document[name].as_str().map(str::to_owned);
        let path = text("step").unwrap_or_default();
        let status = text("status").unwrap_or_default();
        let ended = tried.get(&StepPath::from(path.as_str())).copied();
        // Of what runs, or was ended from outside, no end of its own tells.
        let began = !document["attempt"].is_null() && status != "skipped";
        let attempts = ended.unwrap_or(0).max(usize::from(began));
        Self {
            error: text("error"),
            document: document.clone(),
            path,
            status,
            attempts,
        }
    }
}

/// How often each step was tried, as far as events tell. What only decides whether it runs, or goes on,
/// is no try; what opens its body and what then ends it are one.
fn tried(records: &[Record]) -> BTreeMap<StepPath, usize> {
    let mut seen = BTreeSet::new();
    let mut tried: BTreeMap<StepPath, Tries> = BTreeMap::new();
    for event in records.iter().flat_map(|record| &record.append.events) {
        // An end that came twice counts once.
        if let Event::StepEnded(ended) = event
            && seen.insert((&ended.step, ended.generation, ended.attempt))
        {
            tried
                .entry(ended.step.clone())
                .or_default()
                .take(&ended.end);
        }
    }
    let tried = tried.into_iter();
    tried.map(|(step, tries)| (step, tries.count())).collect()
}

#[derive(Debug, Default)]
struct Tries {
    opened: usize,
    succeeded: usize,
    failed: usize,
}

impl Tries {
    const fn take(&mut self, end: &StepEnd) {
        match end {
            StepEnd::Went
            | StepEnd::Skipped
            | StepEnd::Lost { .. }
            | StepEnd::Asked { again: true, .. } => {}
            StepEnd::Split { .. } | StepEnd::Expanded { .. } | StepEnd::Waits { .. } => {
                self.opened += 1;
            }
            StepEnd::Succeeded { .. } | StepEnd::Took { .. } | StepEnd::Asked { .. } => {
                self.succeeded += 1;
            }
            StepEnd::Failed { .. } => self.failed += 1,
        }
    }

    fn count(&self) -> usize {
        self.opened.max(self.succeeded) + self.failed
    }
}

fn count(attempts: usize) -> String {
    let plural = if attempts == 1 { "" } else { "s" };
    format!("{attempts} attempt{plural}")
}
