//! What events say, as they are printed, and in words.

use serde::Deserialize;

use crate::amount;

/// Every event that a log shows.
pub(super) const NAMES: [&str; 18] = [
    "accepted",
    "claimed",
    "released",
    "step_started",
    "step_called",
    "step_ended",
    "ticked",
    "output_lost",
    "output_failed",
    "signalled",
    "pause_asked",
    "resume_asked",
    "cancel_asked",
    "restart_asked",
    "ended",
    "delivered",
    "closing",
    "settled",
];

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Said {
    Accepted {
        at: Moment,
        flow: String,
        version: String,
        bytes: u64,
        deadline: String,
        parent: Option<String>,
    },
    Claimed {
        at: Moment,
        replica: String,
        epoch: u64,
    },
    Released {
        at: Moment,
    },
    StepStarted(Begun),
    StepCalled(Begun),
    StepEnded(StepEnded),
    Ticked {
        at: Moment,
    },
    OutputLost {
        at: Moment,
    },
    OutputFailed {
        at: Moment,
        error: String,
    },
    Signalled {
        at: Moment,
        signal: String,
        bytes: u64,
    },
    PauseAsked {
        at: Moment,
    },
    ResumeAsked {
        at: Moment,
    },
    CancelAsked {
        at: Moment,
    },
    RestartAsked {
        at: Moment,
        from: Option<String>,
        version: Option<String>,
    },
    Ended {
        at: Moment,
        status: String,
        step: Option<String>,
        error: Option<String>,
    },
    Delivered {
        at: Moment,
        error: Option<String>,
    },
    Closing {
        at: Moment,
    },
    Settled {
        at: Moment,
    },
}

#[derive(Debug, Deserialize)]
pub(super) struct Begun {
    pub(super) step: String,
    pub(super) attempt: u32,
    at: Moment,
}

#[derive(Debug, Deserialize)]
pub(super) struct StepEnded {
    pub(super) step: String,
    pub(super) status: String,
    pub(super) attempt: u32,
    #[serde(default)]
    pub(super) generation: u32,
    end: Moment,
    duration_ms: f64,
    /// Of a `for_each`, once it is split.
    pub(super) items: Option<u32>,
    /// Of a `loop`: whether its body runs once more.
    pub(super) again: Option<bool>,
    /// Of an `expand`, once its graph is there.
    pub(super) graph_bytes: Option<u64>,
    /// Of a `switch`.
    cases: Option<Vec<u32>>,
    until: Option<String>,
    pub(super) error: Option<String>,
}

/// A time, in µs of Unix time.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Moment(i64);

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time: Result<jiff::Timestamp, _> = text.parse();
        let time = time.map_err(|error| format!("{text:?} is no time: {error}"))?;
        Ok(Self(time.as_microsecond()))
    }
}

impl Said {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Claimed { .. } => "claimed",
            Self::Released { .. } => "released",
            Self::StepStarted(_) => "step_started",
            Self::StepCalled(_) => "step_called",
            Self::StepEnded(_) => "step_ended",
            Self::Ticked { .. } => "ticked",
            Self::OutputLost { .. } => "output_lost",
            Self::OutputFailed { .. } => "output_failed",
            Self::Signalled { .. } => "signalled",
            Self::PauseAsked { .. } => "pause_asked",
            Self::ResumeAsked { .. } => "resume_asked",
            Self::CancelAsked { .. } => "cancel_asked",
            Self::RestartAsked { .. } => "restart_asked",
            Self::Ended { .. } => "ended",
            Self::Delivered { .. } => "delivered",
            Self::Closing { .. } => "closing",
            Self::Settled { .. } => "settled",
        }
    }

    /// When, in µs of Unix time.
    pub(super) const fn at_us(&self) -> i64 {
        let at = match self {
            Self::StepStarted(begun) | Self::StepCalled(begun) => begun.at,
            Self::StepEnded(ended) => ended.end,
            Self::Accepted { at, .. }
            | Self::Claimed { at, .. }
            | Self::Released { at }
            | Self::Ticked { at }
            | Self::OutputLost { at }
            | Self::OutputFailed { at, .. }
            | Self::Signalled { at, .. }
            | Self::PauseAsked { at }
            | Self::ResumeAsked { at }
            | Self::CancelAsked { at }
            | Self::RestartAsked { at, .. }
            | Self::Ended { at, .. }
            | Self::Delivered { at, .. }
            | Self::Closing { at }
            | Self::Settled { at } => *at,
        };
        at.0
    }

    /// A line for people.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Accepted {
                flow,
                version,
                bytes,
                deadline,
                parent,
                ..
            } => {
                let (bytes, deadline) = (amount::bytes(*bytes), amount::moment(deadline));
                let of = match parent {
                    Some(parent) => format!(", as a sub-flow of {parent}"),
                    None => String::new(),
                };
                format!(
                    "a request of flow {flow} (version {version}) was accepted{of}, with {bytes}; it must end by {deadline}"
                )
            }
            Self::Claimed { replica, epoch, .. } => {
                format!("replica {replica} drives it, by claim {epoch}")
            }
            Self::Released { .. } => "nobody drives it until something is due or comes".to_owned(),
            Self::StepStarted(Begun { step, attempt, .. }) => {
                format!("step {step} begins attempt {attempt}")
            }
            Self::StepCalled(Begun { step, attempt, .. }) => {
                format!("step {step} waits for who took attempt {attempt} on")
            }
            Self::StepEnded(ended) => ended.words(),
            Self::Ticked { .. } => "a time came that something waits for".to_owned(),
            Self::OutputLost { .. } => {
                "a value of the flow's output is gone, and is made again".to_owned()
            }
            Self::OutputFailed { error, .. } => format!("the output cannot be made: {error}"),
            Self::Signalled { signal, bytes, .. } => {
                format!("signal {signal} came, with {}", amount::bytes(*bytes))
            }
            Self::PauseAsked { .. } => "somebody paused it: no step starts".to_owned(),
            Self::ResumeAsked { .. } => "somebody resumed it".to_owned(),
            Self::CancelAsked { .. } => "somebody cancelled it".to_owned(),
            Self::RestartAsked { from, version, .. } => {
                let from = from
                    .as_deref()
                    .map_or("from what failed".to_owned(), |step| {
                        format!("from step {step}")
                    });
                let on = version
                    .as_deref()
                    .map_or(String::new(), |version| format!(", on version {version}"));
                format!("somebody restarted it {from}{on}")
            }
            Self::Ended {
                status,
                step,
                error,
                ..
            } => ended(status, step.as_deref(), error.as_deref()),
            Self::Delivered { error: None, .. } => "somebody was told of its end".to_owned(),
            Self::Delivered {
                error: Some(error), ..
            } => {
                format!("somebody could not be told of its end: {error}")
            }
            Self::Closing { .. } => "it can be restarted no more".to_owned(),
            Self::Settled { .. } => "nothing of it is left to do".to_owned(),
        }
    }
}

impl StepEnded {
    /// Whether its body runs from now on.
    pub(super) fn opens(&self) -> bool {
        self.items.is_some() || self.again == Some(true) || self.graph_bytes.is_some()
    }

    fn words(&self) -> String {
        let (step, attempt) = (&self.step, self.attempt);
        if let Some(items) = self.items {
            return format!("step {step} has {}", amount::count(items as usize, "item"));
        }
        if let Some(bytes) = self.graph_bytes {
            let bytes = amount::bytes(bytes);
            return format!("step {step} runs a graph of {bytes} that was made for it");
        }
        let took = amount::duration(self.duration_ms);
        match self.status.as_str() {
            "running" if self.again == Some(true) => format!("step {step} runs its body once more"),
            "running" => format!("step {step}: its `when` holds"),
            "skipped" => format!("step {step} is skipped: its `when` does not hold"),
            "sleeping" => {
                let until = self.until.as_deref().map(amount::moment);
                format!("step {step} waits until {}", until.unwrap_or_default())
            }
            "lost" => format!(
                "step {step}, attempt {attempt}: a value that it needs is gone, and is made again"
            ),
            "failed" => {
                let error = self.error.as_deref().unwrap_or("no error is told");
                format!("step {step} failed, attempt {attempt}, in {took}: {error}")
            }
            status => {
                let cases = self.cases.as_ref().map(|cases| match &cases[..] {
                    [] => ", and took no case".to_owned(),
                    cases => {
                        let numbers: Vec<_> = cases.iter().map(|n| (n + 1).to_string()).collect();
                        format!(", and took case {}", numbers.join(", "))
                    }
                });
                format!(
                    "step {step} {status}, attempt {attempt}, in {took}{}",
                    cases.unwrap_or_default()
                )
            }
        }
    }
}

fn ended(status: &str, step: Option<&str>, error: Option<&str>) -> String {
    let mut text = format!("it ended: {}", status.replace('_', " "));
    if let Some(step) = step {
        text.push_str(&format!(" by step {step}"));
    }
    if let Some(error) = error {
        text.push_str(&format!(": {error}"));
    }
    text
}
