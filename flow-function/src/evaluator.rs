//! Runs jq expressions so that none of them can take the replica with it.
//!
//! An expression that is known to be cheap runs where it is asked for; one that is known to end, but
//! has much to do, on the blocking pool; every other one in a process of its own (`pool`), under a
//! limit of time and memory, which is killed at the limit and when nobody waits for it any more.
//!
//! Invariants: what runs in this process has a bound; large evaluations in it share one budget of
//! memory; there are never more helper processes than the setting says, but for the moment in which
//! a killed one ends.

mod helper;
mod message;
mod pool;
mod process;
mod thread;

pub use helper::run_evaluator_if_asked;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use turlough_sdk::{Bound, Expression, StepError, Value, Variables};

use crate::settings::Settings;
use message::{Mode, Outcome};
use pool::Pool;

/// Inputs up to this size may be read on the spot: some 100 µs.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes touched on the spot, about a millisecond.
const INLINE_WORK_MAX: u64 = 1 << 20;
/// What a byte of JSON or MessagePack takes as a tree of values, at worst.
const TREE_BYTES: u64 = 32;
/// Permits of a semaphore are counted in 32 bits.
const BUDGET_UNIT_BYTES: u64 = 1024;

/// Runs jq expressions.
#[derive(Debug)]
pub(crate) struct Evaluator {
    pool: Pool,
    /// Memory for evaluations on the blocking pool, in KiB.
    budget: Arc<Semaphore>,
    budget_units: u32,
    bytes_max: u64,
    limit: Duration,
    /// Nothing is evaluated in another process.
    stays_here: bool,
}

impl Evaluator {
    pub(crate) fn new(settings: &Settings) -> Self {
        let units = (settings.jq_bytes_max / BUDGET_UNIT_BYTES).clamp(1, 1 << 28);
        let budget_units = u32::try_from(units).unwrap_or(1 << 28);
        Self {
            pool: Pool::new(settings),
            budget: Arc::new(Semaphore::new(budget_units as usize)),
            budget_units,
            bytes_max: settings.jq_bytes_max,
            limit: settings.jq_timeout,
            stays_here: false,
        }
    }

    /// Evaluates all in this process from now on, without a limit of memory: for tests of flows.
    pub(crate) const fn stay_here(&mut self) {
        self.stays_here = true;
    }

    /// The expression's first output.
    pub(crate) async fn run(
        &self,
        expression: &Expression,
        input: Value,
        variables: &Variables,
    ) -> Result<Value, StepError> {
        match self
            .evaluate(Mode::Run, expression, input, variables)
            .await?
        {
            Outcome::Output(value) => Ok(value),
            Outcome::Holds(_) => Err(StepError::permanent(
                "the evaluator answered another question",
            )),
        }
    }

    /// Whether the expression's first output is neither false, null nor absent.
    pub(crate) async fn holds(
        &self,
        expression: &Expression,
        input: Value,
        variables: &Variables,
    ) -> Result<bool, StepError> {
        match self
            .evaluate(Mode::Holds, expression, input, variables)
            .await?
        {
            Outcome::Holds(holds) => Ok(holds),
            Outcome::Output(_) => Err(StepError::permanent(
                "the evaluator answered another question",
            )),
        }
    }

    async fn evaluate(
        &self,
        mode: Mode,
        expression: &Expression,
        input: Value,
        variables: &Variables,
    ) -> Result<Outcome, StepError> {
        let variables_input = variables.input.as_ref().filter(|_| expression.uses().input);
        let bytes = input.body().len() + variables_input.map_or(0, |input| input.body().len());
        match expression.bound(&input, variables) {
            Some(bound) if bytes <= INLINE_BYTES_MAX && bound.work <= INLINE_WORK_MAX => {
                here(mode, expression, &input, variables)
            }
            Some(bound) if bound.output_bytes <= self.bytes_max => {
                let variables = variables.only(expression.uses());
                self.beside(
                    mode,
                    expression.clone(),
                    input,
                    variables,
                    bound,
                    bytes as u64,
                )
                .await
            }
            _ if self.stays_here => {
                let variables = variables.only(expression.uses());
                thread::evaluate(mode, expression, input, variables, self.limit).await
            }
            _ => self.pool.ask(mode, expression, &input, variables).await,
        }
    }

    /// On the blocking pool. What is given up still ends, and holds its memory until then.
    async fn beside(
        &self,
        mode: Mode,
        expression: Expression,
        input: Value,
        variables: Variables,
        bound: Bound,
        bytes: u64,
    ) -> Result<Outcome, StepError> {
        let memory = bytes
            .saturating_mul(TREE_BYTES)
            .saturating_add(bound.output_bytes);
        // What takes more than all of it runs alone.
        let units = u32::try_from(memory / BUDGET_UNIT_BYTES).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.budget);
        let room = budget
            .acquire_many_owned(units.clamp(1, self.budget_units))
            .await;
        let room = room.map_err(StepError::transient)?;
        let work = move || {
            let _room = room;
            here(mode, &expression, &input, &variables)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            Err(error) => Err(StepError::transient(error)),
        }
    }
}

fn here(
    mode: Mode,
    expression: &Expression,
    input: &Value,
    variables: &Variables,
) -> Result<Outcome, StepError> {
    let outcome = match mode {
        Mode::Run => expression.run(input, variables).map(Outcome::Output),
        Mode::Holds => expression.holds(input, variables).map(Outcome::Holds),
    };
    outcome.map_err(StepError::permanent)
}
