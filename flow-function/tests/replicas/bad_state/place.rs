//! What a flow-function needs beside its state: flows, and functions that answer when they are told to.

use std::ffi::OsStr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use turlough_statestore::{Options, State, StateUrl};
use turlough_testing::{Answer, Program, WallClock, free_port};

/// One pure step; a call that is held; a wait for a signal; two for a time, each too long for a driver
/// to stay for it.
const FLOWS: [(&str, &str); 5] = [
    ("plain", "flow: plain\nnodes: { a: { pass: '. + 1' } }\n"),
    (
        "held",
        "flow: held\ntimeout: 2h\nnodes: { a: { apply: held }, b: { after: [a], pass: '. + 1' } }\n",
    ),
    (
        "asks",
        "flow: asks\nnodes: { go: { wait: { signal: go } }, b: { after: [go], pass: '.' } }\n",
    ),
    (
        "naps",
        "flow: naps\nnodes: { nap: { wait: 3s }, b: { after: [nap], pass: '. + 1' } }\n",
    ),
    (
        "sleeps",
        "flow: sleeps\ntimeout: 2h\nnodes: { nap: { wait: 30m }, b: { after: [nap], pass: '. + 1' } }\n",
    ),
];

/// Short, so that a heartbeat is soon missed and soon written again.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);

pub(super) struct Place {
    flows: tempfile::TempDir,
    gateway_url: String,
    open: watch::Sender<bool>,
    calls: Arc<AtomicUsize>,
}

impl Place {
    pub(super) async fn new() -> Self {
        let flows = tempfile::tempdir().unwrap();
        for (name, text) in FLOWS {
            std::fs::write(flows.path().join(format!("{name}.yaml")), text).unwrap();
        }
        let (open, is_open) = watch::channel(false);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let held = move |body: Bytes| {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut is_open = is_open.clone();
            async move {
                drop(is_open.wait_for(|is_open| *is_open).await);
                body
            }
        };
        let router = Router::new().route("/function/held", post(held));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway_url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            flows,
            gateway_url,
            open,
            calls,
        }
    }

    /// A flow-function on a state, with more settings.
    pub(super) fn program(&self, state: &str, more: &[(&str, &str)]) -> Program {
        self.start(state, more.iter().copied())
    }

    /// A flow-function on a state that goes by a clock of its own.
    pub(super) fn program_by(&self, state: &str, clock: &WallClock) -> Program {
        self.start(state, clock.environment())
    }

    fn start(
        &self,
        state: &str,
        more: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_turlough-flow-function"));
        command
            .env_clear()
            .env("TURLOUGH_LISTEN", "127.0.0.1")
            .env("TURLOUGH_SECRETS", self.flows.path().join("none"))
            .env("TURLOUGH_STATE", state)
            .env("TURLOUGH_HEARTBEAT", "2s")
            .env("TURLOUGH_SYNC_WAIT", "80s")
            .env("TURLOUGH_GATEWAY_URL", &self.gateway_url)
            .envs(more)
            .arg("--flows")
            .arg(self.flows.path());
        Program::start(&mut command, free_port())
    }

    /// Functions that are held answer from now on.
    pub(super) fn let_go(&self) {
        self.open.send_replace(true);
    }

    /// How often functions were called.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Returns once a number of calls are held.
    pub(super) async fn held(&self, calls: usize) {
        let are_held = async || (self.calls() == calls).then_some(());
        turlough_testing::until("the function is called", are_held).await;
    }

    /// That a call of `held` with 5 is answered, and was made once.
    pub(super) async fn answers_once(&self, call: JoinHandle<Answer>) {
        let answer = call.await.unwrap();
        assert_eq!(
            (answer.status, &answer.json),
            (200, &6.into()),
            "{answer:?}"
        );
        assert_eq!(self.calls(), 1);
    }
}

/// That it does its work: what is asked is answered.
pub(super) async fn serves(program: &Program) {
    program.ready().await;
    let answer = program.post("/plain", "1").await;
    assert_eq!(
        (answer.status, &answer.json),
        (200, &2.into()),
        "{answer:?}"
    );
}

/// That whoever asks is told at once that nothing can be taken now.
pub(super) async fn refuses(program: &Program, says: &str) {
    let answer = program.post("/plain", "1").await;
    answer.assert_is_a_wait();
    assert!(answer.detail().contains(says), "{answer:?}");
}

/// The state as another process sees it.
pub(super) async fn state(url: &str, bytes_max: u64) -> State {
    let url: StateUrl = url.parse().unwrap();
    let options = Options {
        heartbeat: HEARTBEAT,
        bytes_max,
        ..Options::new("default".parse().unwrap(), "test".parse().unwrap())
    };
    State::open(&url, &options).await.unwrap()
}

/// What a state holds where nobody says otherwise.
pub(super) const BYTES_MAX: u64 = 1 << 30;
