//! The helper processes: started when there is need of one, used again, replaced when they fail.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};
use turlough_sdk::{Expression, StepError, Value, Variables};

use super::helper::ASKED;
use super::message::{self, Answer, Mode, Outcome, Question};
use super::process::{Death, Process, StartError};
use crate::settings::Settings;

/// How often an evaluation is begun anew because its helper was gone, for no fault of its own.
const TRIES_MAX: usize = 2;
/// The running program, even where its file has been replaced since.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// Signals by which a process ends itself: out of memory, out of stack.
const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

#[derive(Debug)]
pub(super) struct Pool {
    program: PathBuf,
    limit: Duration,
    bytes_max: u64,
    output_bytes_max: usize,
    room: Semaphore,
    idle: Mutex<Vec<Process>>,
}

impl Pool {
    pub(super) fn new(settings: &Settings) -> Self {
        let own = || PathBuf::from(OWN_PROGRAM);
        Self {
            program: settings.evaluator.clone().unwrap_or_else(own),
            limit: settings.jq_timeout,
            bytes_max: settings.jq_bytes_max,
            output_bytes_max: settings.body_bytes_max,
            room: Semaphore::new(settings.jq_processes.clamp(1, Semaphore::MAX_PERMITS)),
            idle: Mutex::default(),
        }
    }

    /// Has a helper evaluate. Dropping the future kills the helper that is at it.
    pub(super) async fn ask(
        &self,
        mode: Mode,
        expression: &Expression,
        input: &Value,
        variables: &Variables,
    ) -> Result<Outcome, StepError> {
        let limit = self.output_bytes_max;
        let question = Question::new(mode, expression, input, variables, limit);
        let head = message::head(&question)
            .map_err(|reason| failed(expression, &format!("cannot be evaluated: {reason}")))?;
        let request_input = variables.input.as_ref().filter(|_| expression.uses().input);
        let values: Vec<&Value> = [Some(input), request_input].into_iter().flatten().collect();
        let _room = self.room.acquire().await.map_err(StepError::transient)?;
        for attempt in 1.. {
            // Owned here: whoever drops this future drops the process with it, which kills it.
            let mut process = self.process().await?;
            let asked = process.ask(&head, &values, self.output_bytes_max);
            let lost = match timeout(self.limit, asked).await {
                Ok(Ok((answer, output))) => {
                    self.put_back(process);
                    return outcome(answer, output);
                }
                Ok(Err(lost)) => lost,
                Err(_) => {
                    process.kill().await;
                    let limit = self.limit;
                    let reason = format!(
                        "took longer than {limit:?} and was stopped; \
                         make it do less, or raise TURLOUGH_JQ_TIMEOUT"
                    );
                    return Err(failed(expression, &reason));
                }
            };
            let death = process.death().await;
            debug!(%lost, ?death, attempt, "jq evaluator was lost");
            if let Some(reason) = self.own_fault(&death) {
                return Err(failed(expression, &reason));
            }
            if attempt == TRIES_MAX {
                let status = death
                    .status
                    .map_or_else(|| lost.to_string(), |s| s.to_string());
                let reason = format!("lost its process {attempt} times, at last by {status}");
                return Err(failed(expression, &reason));
            }
        }
        Err(StepError::transient("no evaluator was tried"))
    }

    /// What an expression did to its helper; none where somebody else ended it.
    fn own_fault(&self, death: &Death) -> Option<String> {
        let limit = self.bytes_max;
        let status = death.status?;
        if status.signal().is_none() && status.code().is_some_and(|code| code != 0) {
            let said = &death.said;
            return Some(format!("ended its process ({status}): {said:?}"));
        }
        if !matches!(status.signal(), Some(SIGABRT | SIGSEGV)) {
            return None;
        }
        Some(if death.said.contains("overflowed its stack") {
            "recursed deeper than its stack and was stopped; nest less".to_owned()
        } else {
            format!(
                "took more memory than its limit of {limit} bytes and was stopped; \
                 make it hold less at once, or raise TURLOUGH_JQ_BYTES_MAX"
            )
        })
    }

    async fn process(&self) -> Result<Process, StepError> {
        while let Some(mut process) = self.take_idle() {
            if process.is_alive() {
                return Ok(process);
            }
        }
        let program = self.program.display();
        if std::env::var_os(ASKED).is_some() {
            return Err(no_evaluator(
                &self.program,
                "was started as one and serves instead",
            ));
        }
        match Process::start(&self.program, self.bytes_max).await {
            Ok(process) => {
                debug!(id = process.id(), "jq evaluator started");
                Ok(process)
            }
            Err(StartError::Spawn(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(no_evaluator(&self.program, "is not there"))
            }
            Err(StartError::Spawn(error)) => {
                warn!(%program, %error, "jq evaluator could not be started");
                Err(StepError::transient(format!(
                    "cannot start a jq evaluator from {program}: {error}"
                )))
            }
            Err(StartError::NoEvaluator(why)) => Err(no_evaluator(&self.program, &why)),
        }
    }

    fn take_idle(&self) -> Option<Process> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    fn put_back(&self, process: Process) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(process);
    }
}

fn failed(expression: &Expression, reason: &str) -> StepError {
    let text: String = expression.source().chars().take(200).collect();
    StepError::permanent(format!("jq expression {text:?} {reason}"))
}

fn outcome(answer: Answer, output: Option<Value>) -> Result<Outcome, StepError> {
    match (answer, output) {
        (Answer::Output { .. }, Some(output)) => Ok(Outcome::Output(output)),
        (Answer::Holds(holds), _) => Ok(Outcome::Holds(holds)),
        (Answer::Failed(reason), _) => Err(StepError::permanent(reason)),
        (Answer::Output { .. }, None) => Err(StepError::permanent("the evaluator gave no output")),
    }
}

fn no_evaluator(program: &Path, why: &str) -> StepError {
    let program = program.display();
    let text = format!(
        "{program} is no jq evaluator: it {why}; call turlough_flow_function::run_evaluator_if_asked() \
         first thing in its main, or set TURLOUGH_EVALUATOR_PROGRAM to a program that does"
    );
    warn!("{text}");
    StepError::permanent(text)
}
