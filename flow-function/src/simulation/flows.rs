//! The flows of a simulation, and what they are to give.

use std::sync::Arc;
use std::time::Duration;

use turlough_sdk::{Compensation, Flow, StepError};

use super::functions::Functions;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chain,
    Join,
    Each,
    Again,
    Nap,
    Asks,
    Once,
    Saga,
    Parent,
    Large,
    /// It returns a large value, which is there before its other last step.
    Early,
    Long,
    /// Those of scenarios alone.
    Polls,
    Pays,
    Both,
    Guess,
    /// Its sub-flow gives more than rides in an event.
    Reads,
    /// Its second step fails when it is first called.
    Shaky,
    /// It holds a large value while it waits for a signal.
    Holds,
}

impl Kind {
    /// What is drawn from. All but the last take a minute at most.
    pub(super) const ALL: [Self; 12] = [
        Self::Chain,
        Self::Join,
        Self::Each,
        Self::Again,
        Self::Nap,
        Self::Asks,
        Self::Once,
        Self::Saga,
        Self::Parent,
        Self::Large,
        Self::Early,
        Self::Long,
    ];

    pub(super) const fn flow(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Join => "join",
            Self::Each => "each",
            Self::Again => "again",
            Self::Nap => "nap",
            Self::Asks => "asks",
            Self::Once => "once",
            Self::Saga => "saga",
            Self::Parent => "parent",
            Self::Large => "large",
            Self::Early => "early",
            Self::Long => "long",
            Self::Polls => "polls",
            Self::Pays => "pays",
            Self::Both => "both",
            Self::Guess => "guess",
            Self::Reads => "reads",
            Self::Shaky => "shaky",
            Self::Holds => "holds",
        }
    }

    /// What a request with a number gives; none where it has to fail.
    pub(super) const fn gives(self, n: u64) -> Option<u64> {
        match self {
            Self::Join | Self::Both => Some(2 * n),
            Self::Each => Some(5 * n),
            Self::Saga => None,
            Self::Large | Self::Early | Self::Reads | Self::Holds => Some(LARGE as u64 + n),
            _ => Some(n),
        }
    }
}

/// Over the limit of what rides in an event.
const LARGE: usize = 10_000;
/// Over the age at which appends expire, where they do.
const LONG: Duration = Duration::from_secs(400);

/// All flows, whose functions are called and counted.
pub(super) fn all(functions: &Arc<Functions>) -> Vec<Flow> {
    let f = Calls(Arc::clone(functions));
    vec![
        chain(&f),
        join(&f),
        each(&f),
        again(&f),
        nap("nap", &f, Duration::from_secs(8)),
        nap("long", &f, LONG),
        asks(&f),
        once("once", &f, Duration::from_secs(4)),
        once("pays", &f, Duration::from_secs(100)),
        saga(&f),
        parent(),
        large(&f),
        early(&f),
        polls(&f),
        both(&f),
        guess(&f),
        text(&f),
        reads(),
        shaky(&f),
        holds(&f),
        measure(&f),
    ]
}

struct Calls(Arc<Functions>);

type Called = std::pin::Pin<Box<dyn Future<Output = Result<u64, StepError>> + Send>>;

impl Calls {
    /// A closure that calls a function with its input.
    fn of(
        &self,
        name: &'static str,
        ms_max: usize,
    ) -> impl Fn(u64) -> Called + Send + Sync + 'static {
        let functions = Arc::clone(&self.0);
        move |n| Box::pin(Arc::clone(&functions).call(name, n, ms_max))
    }
}

fn built(flow: Result<Flow, turlough_sdk::FlowError>) -> Flow {
    flow.unwrap_or_else(|error| panic!("{error}"))
}

fn chain(f: &Calls) -> Flow {
    let flow = Flow::builder("chain");
    let n = flow.input::<u64>();
    let a = flow.map("a", &n, f.of("a", 20));
    let b = flow.map("b", &a, f.of("b", 1_500));
    let c = flow.map("c", &b, f.of("c", 20));
    built(flow.output(&c).build())
}

fn join(f: &Calls) -> Flow {
    let flow = Flow::builder("join");
    let n = flow.input::<u64>();
    let a = flow.map("a", &n, f.of("a", 20));
    let b = flow.map("b", &n, f.of("b", 1_500));
    let sum = flow.map("sum", (&a, &b), async |(a, b): (u64, u64)| {
        Ok::<_, StepError>(a + b)
    });
    built(flow.output(&sum).build())
}

fn each(f: &Calls) -> Flow {
    let flow = Flow::builder("each");
    let n = flow.input::<u64>();
    let list = flow.map("list", &n, async |n: u64| Ok::<_, StepError>(vec![n; 5]));
    let all = flow.for_each("all", &list, |body, n| body.map("b", n, f.of("b", 1_000)));
    let sum = flow.map("sum", &all, async |all: Vec<u64>| {
        Ok::<_, StepError>(all.iter().sum::<u64>())
    });
    built(flow.output(&sum).build())
}

fn again(f: &Calls) -> Flow {
    let flow = Flow::builder("again");
    let n = flow.input::<u64>();
    let begin = flow.map("begin", &n, async |n: u64| Ok::<_, StepError>((0_u64, n)));
    let turn = f.of("a", 200);
    let last = flow.repeat_while("turns", &begin, ". [0] < 4", 10, |body, at| {
        body.map("turn", at, move |(turns, n): (u64, u64)| {
            let called = turn(n);
            async move { Ok::<_, StepError>((turns + 1, called.await?)) }
        })
    });
    let n = flow.map("n", &last, async |(_, n): (u64, u64)| Ok::<_, StepError>(n));
    built(flow.output(&n).build())
}

fn nap(name: &str, f: &Calls, time: Duration) -> Flow {
    let flow = Flow::builder(name);
    let n = flow.input::<u64>();
    let a = flow.map("a", &n, f.of("a", 20));
    let b = flow.wait("b", &a, time);
    let c = flow.map("c", &b, f.of("c", 20));
    built(flow.output(&c).build())
}

fn asks(f: &Calls) -> Flow {
    let flow = Flow::builder("asks");
    let n = flow.input::<u64>();
    let a = flow.map("a", &n, f.of("a", 20));
    let go = flow.signal::<u64, _>("go", &a, "go");
    let c = flow.map("c", &go, f.of("c", 20));
    built(flow.output(&c).build())
}

fn once(name: &str, f: &Calls, timeout: Duration) -> Flow {
    let flow = Flow::builder(name);
    let n = flow.input::<u64>();
    let pay = flow
        .map("pay", &n, f.of("pay", 2_000))
        .at_most_once()
        .timeout(timeout);
    let c = flow.map("c", &pay, f.of("c", 20));
    built(flow.output(&c).build())
}

fn saga(f: &Calls) -> Flow {
    let flow = Flow::builder("saga");
    let n = flow.input::<u64>();
    let undo = f.of("undo", 300);
    let book = flow
        .map("book", &n, f.of("book", 700))
        .compensate(|place| place.map(move |of: Compensation<u64, u64>| undo(of.input)));
    let fails = flow.map("fails", &book, async |_: u64| {
        Err::<u64, _>(StepError::permanent("as it must"))
    });
    built(flow.output(&fails).build())
}

fn parent() -> Flow {
    let flow = Flow::builder("parent");
    let n = flow.input::<u64>();
    let child = flow.subflow::<u64, _>("child", &n, "chain");
    built(flow.output(&child).build())
}

/// Its values stay with the replica that made them, and are made anew where that is gone.
fn large(f: &Calls) -> Flow {
    let flow = Flow::builder("large");
    let n = flow.input::<u64>();
    let text = flow.map("text", &n, async |n: u64| {
        Ok::<_, StepError>("x".repeat(LARGE + n as usize))
    });
    let slow = f.of("b", 1_500);
    let size = flow.map("size", (&text, &n), move |(text, n): (String, u64)| {
        let called = slow(n);
        async move { called.await.map(|_| text.len() as u64) }
    });
    let more = flow.map(
        "more",
        (&text, &size),
        async |(text, size): (String, u64)| Ok::<_, StepError>(text.len().max(size as usize)),
    );
    built(flow.output(&more).build())
}

fn early(f: &Calls) -> Flow {
    let flow = Flow::builder("early");
    let n = flow.input::<u64>();
    let text = flow.map("text", &n, writes(f));
    let _ = flow.map("last", &n, f.of("b", 1_500));
    built(flow.output(&text).build())
}

/// It looks again every one and a half seconds, sixty times, and is never let go of meanwhile.
fn polls(f: &Calls) -> Flow {
    let flow = Flow::builder("polls");
    let n = flow.input::<u64>();
    let begin = flow.map("begin", &n, async |n: u64| Ok::<_, StepError>((0_u64, n)));
    let look = f.of("a", 20);
    let last = flow.repeat_while("looks", &begin, ".[0] < 60", 100, |body, at| {
        let seen = body.map("look", at, move |(looks, n): (u64, u64)| {
            let called = look(n);
            async move { Ok::<_, StepError>((looks + 1, called.await?)) }
        });
        body.wait("pause", &seen, Duration::from_millis(1_500))
    });
    let n = flow.map("n", &last, async |(_, n): (u64, u64)| Ok::<_, StepError>(n));
    built(flow.output(&n).build())
}

/// A payment beside a step that fails, but for its second call.
fn both(f: &Calls) -> Flow {
    let flow = Flow::builder("both").timeout(Duration::from_secs(40));
    let n = flow.input::<u64>();
    let pay = flow
        .map("pay", &n, f.of("pay", 20))
        .at_most_once()
        .timeout(Duration::from_secs(100));
    let functions = Arc::clone(&f.0);
    let fails = flow.map("fails", &n, move |n: u64| {
        let functions = Arc::clone(&functions);
        async move {
            let answer = Arc::clone(&functions).call("fails", n, 20).await?;
            match functions.calls("fails", n) {
                1 => Err(StepError::permanent("as it must, once")),
                _ => Ok(answer),
            }
        }
    });
    let sum = flow.map("sum", (&pay, &fails), async |(a, b): (u64, u64)| {
        Ok::<_, StepError>(a + b)
    });
    built(flow.output(&sum).build())
}

/// What may be called ahead of the log stands between two steps that may not.
fn guess(f: &Calls) -> Flow {
    let flow = Flow::builder("guess");
    let n = flow.input::<u64>();
    let a = flow.map("a", &n, f.of("a", 20));
    let p = flow.map("p", &a, f.of("p", 20)).pure();
    let c = flow.map("c", &p, f.of("c", 20));
    built(flow.output(&c).build())
}

/// A closure that calls `write`, and gives a text over the limit of what rides in an event.
fn writes(f: &Calls) -> impl Fn(u64) -> Written + Send + Sync + 'static {
    let write = f.of("write", 20);
    move |n| {
        let called = write(n);
        Box::pin(async move { called.await.map(|n| "x".repeat(LARGE + n as usize)) })
    }
}

type Written = std::pin::Pin<Box<dyn Future<Output = Result<String, StepError>> + Send>>;

fn text(f: &Calls) -> Flow {
    let flow = Flow::builder("text");
    let n = flow.input::<u64>();
    let text = flow.map("text", &n, writes(f));
    built(flow.output(&text).build())
}

fn reads() -> Flow {
    let flow = Flow::builder("reads");
    let n = flow.input::<u64>();
    let child = flow.subflow::<String, _>("child", &n, "text");
    let size = flow.map("size", &child, size);
    built(flow.output(&size).build())
}

fn holds(f: &Calls) -> Flow {
    let flow = Flow::builder("holds");
    let n = flow.input::<u64>();
    let text = flow.map("text", &n, writes(f));
    let go = flow.signal::<u64, _>("go", &text, "go");
    let size = flow.map("size", (&text, &go), async |(text, _): (String, u64)| {
        size(text).await
    });
    built(flow.output(&size).build())
}

fn shaky(f: &Calls) -> Flow {
    let flow = Flow::builder("shaky");
    let n = flow.input::<u64>();
    let text = flow.map("text", &n, writes(f));
    let (functions, shaky) = (Arc::clone(&f.0), f.of("shaky", 20));
    let fails = flow.map("fails", (&text, &n), move |(_, n): (String, u64)| {
        let (called, functions) = (shaky(n), Arc::clone(&functions));
        async move {
            let n = called.await?;
            match functions.calls("shaky", n) {
                1 => Err(StepError::permanent("as it does at first")),
                _ => Ok(n),
            }
        }
    });
    built(flow.output(&fails).build())
}

fn measure(f: &Calls) -> Flow {
    let flow = Flow::builder("measure");
    let text = flow.input::<String>();
    let measure = f.of("measure", 20);
    let size = flow.map(
        "size",
        &text,
        move |text: String| measure(text.len() as u64),
    );
    built(flow.output(&size).build())
}

async fn size(text: String) -> Result<u64, StepError> {
    Ok(text.len() as u64)
}
