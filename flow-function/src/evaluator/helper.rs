//! The helper process: reads a question, evaluates it, writes the answer, until its input ends.
//!
//! Invariants: it has a limit on its memory, leaves no core dump, and dies with its parent; it knows
//! nothing of the parent's environment. Absent: a limit on time, which is the parent's to keep.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::process;

use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit,
};
use turlough_sdk::{Expression, Variables};

use super::message::{self, Answer, MAGIC, Mode, Question};

/// The variable that asks a program to be a helper; its value is the memory it may take, in bytes.
pub(super) const ASKED: &str = "TURLOUGH_EVALUATOR";
/// The argument beside it, so that a program that does not look at the variable ends at once.
pub(super) const ARGUMENT: &str = "--turlough-evaluator";
/// Compiled expressions that are kept, of up to 0.1 MB each.
const COMPILED_MAX: usize = 64;
/// Evaluations give way to everything else.
const NICENESS: i32 = 5;
/// What a helper may keep for its next evaluation, as a part of its memory; past it, it ends, and
/// another is started when there is need of one.
const KEPT_PART: u64 = 4;

/// Turns this process into an evaluator of jq expressions where its environment asks for that, and
/// then never returns.
///
/// An engine starts its own program once more for each such helper. [`serve`](crate::serve) and
/// [`main_with`](crate::main_with) see to it; a program that uses an [`Engine`](crate::Engine)
/// otherwise calls this first thing in its `main`, before it reads its arguments.
pub fn run_evaluator_if_asked() {
    let Some(asked) = std::env::var_os(ASKED) else {
        return;
    };
    let bytes_max = asked.to_str().and_then(|text| text.parse().ok());
    let code = match bytes_max
        .ok_or(io::ErrorKind::InvalidInput.into())
        .and_then(serve)
    {
        Ok(()) => 0,
        Err(error) => {
            drop(writeln!(io::stderr(), "jq evaluator: {error}"));
            1
        }
    };
    process::exit(code);
}

fn serve(bytes_max: u64) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    limit(Resource::Core, 0)?;
    // Beside what is mapped already: the program itself, above all.
    let base = mapped_bytes()?;
    limit(Resource::As, base.saturating_add(bytes_max))?;
    // Not being allowed to be nicer is no reason not to run.
    let _ = nice(NICENESS);
    let (mut questions, mut answers) = (io::stdin().lock(), io::stdout().lock());
    answers.write_all(MAGIC)?;
    answers.flush()?;
    let mut compiled = HashMap::new();
    while let Some(question) = read(&mut questions)? {
        let answer = answer(question, &mut questions, &mut compiled)?;
        let (head, envelope) = answer;
        answers.write_all(&message::head(&head).map_err(io::Error::other)?)?;
        answers.write_all(&envelope)?;
        answers.flush()?;
        if mapped_bytes()? > base + bytes_max / KEPT_PART {
            break;
        }
    }
    Ok(())
}

fn limit(resource: Resource, bytes: u64) -> io::Result<()> {
    let hard = getrlimit(resource).maximum;
    let bytes = hard.map_or(bytes, |hard| hard.min(bytes));
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    Ok(setrlimit(resource, limit)?)
}

/// Address space in use.
fn mapped_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("/proc/self/status has no VmSize"))
}

/// The next question's head; none where the parent is done.
fn read(questions: &mut impl Read) -> io::Result<Option<Question>> {
    let mut length = [0; 4];
    match questions.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let bytes = message::head_bytes(length).ok_or(io::ErrorKind::InvalidData)?;
    let head = bytes_of(questions, bytes)?;
    rmp_serde::from_slice(&head)
        .map(Some)
        .map_err(io::Error::other)
}

fn bytes_of(questions: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    questions.read_exact(&mut buffer)?;
    Ok(buffer)
}

type Compiled = HashMap<String, Expression>;

fn answer(
    question: Question,
    questions: &mut impl Read,
    compiled: &mut Compiled,
) -> io::Result<(Answer, bytes::Bytes)> {
    let value = |bytes| message::value(bytes).map_err(io::Error::other);
    let input = value(bytes_of(questions, question.input_bytes)?)?;
    let request_input = match question.request_input_bytes {
        Some(bytes) => Some(value(bytes_of(questions, bytes)?)?),
        None => None,
    };
    let (mode, limit) = (question.mode, question.output_bytes_max);
    let expression = match compile(&question.source, compiled) {
        Ok(expression) => expression,
        Err(reason) => return Ok((Answer::Failed(reason), bytes::Bytes::new())),
    };
    let variables = Variables {
        input: request_input,
        ..question.variables()
    };
    let evaluated = match mode {
        Mode::Holds => expression
            .holds(&input, &variables)
            .map(|holds| (Answer::Holds(holds), None)),
        Mode::Run => expression.run(&input, &variables).map(|output| {
            let bytes = output.envelope().len();
            (Answer::Output { bytes }, Some(output))
        }),
    };
    Ok(match evaluated {
        Ok((Answer::Output { bytes }, _)) if bytes > limit => {
            let text: String = expression.source().chars().take(200).collect();
            let reason = format!(
                "output of jq expression {text:?} is {bytes} bytes, limit {limit}; \
                 raise TURLOUGH_BODY_BYTES_MAX"
            );
            (Answer::Failed(reason), bytes::Bytes::new())
        }
        Ok((head, output)) => {
            let envelope = output.map(|output| output.envelope().clone());
            (head, envelope.unwrap_or_default())
        }
        Err(error) => (Answer::Failed(error.to_string()), bytes::Bytes::new()),
    })
}

fn compile(source: &str, compiled: &mut Compiled) -> Result<Expression, String> {
    if let Some(expression) = compiled.get(source) {
        return Ok(expression.clone());
    }
    let expression = Expression::compile(source).map_err(|error| error.to_string())?;
    // Expressions are those of flows, of which there are few: this is for what nobody thought of.
    if compiled.len() == COMPILED_MAX {
        compiled.clear();
    }
    compiled.insert(source.to_owned(), expression.clone());
    Ok(expression)
}
