//! A test kit for pipelines: flows run in process, on the real engine, and the functions that they
//! call are closures of the test.
//!
//! ```
//! use serde_json::json;
//! use turlough_flow_function::testing::{Answer, TestKit};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let kit = TestKit::new().await;
//! kit.yaml(
//!     "
//! flow: order
//! nodes:
//!   price: { apply: price, retry: { attempts: 3, backoff: 1ms..2ms } }
//!   total: { after: [price], pass: .cost }
//! ",
//! );
//! kit.stub("price", |call| match call.attempt {
//!     1 | 2 => Answer::status(503),
//!     _ => Answer::json(&json!({ "cost": 6 })),
//! });
//! let outcome = kit.run("order", &json!({ "item": "tea" })).await;
//! outcome.assert_output(&json!(6));
//! outcome.assert_step("price", "succeeded").assert_attempts("price", 3);
//! assert_eq!(kit.calls("price")[0].json::<serde_json::Value>(), json!({ "item": "tea" }));
//! # }
//! ```
//! The kit is a gateway on a free port of 127.0.0.1, and a flow-function behind it that keeps all in
//! memory: calls go over HTTP as they do elsewhere, callbacks come back, retries wait. Whatever a test
//! did wrong is a panic that says what: all methods here panic where they cannot do what they say.
//!
//! Invariants: kits share nothing; a function without a stub answers 404 and is named; a stub that
//! panics fails the test that ran the flow, not only the step.
//! Absent: a clock that a test sets (a `wait: 5m` takes that long: put shorter times into flows that are
//! tested, or signal them); a queue that makes asynchronous calls again; signatures of signed flows.

mod answer;
mod call;
mod outcome;
mod running;
mod server;
mod stubs;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use turlough_datastore::DataUrl;
use turlough_sdk::{Body, ContentType, Flow, Producer, Value, read_yaml};
use turlough_statestore::StateUrl;

pub use answer::Answer;
pub use call::Call;
pub use outcome::{Failed, Outcome, Step};
pub use running::Running;

use crate::engine::{self, Engine};
use crate::server::load_folder;
use crate::settings::Settings;
use stubs::Stubs;

/// How long a request may take until its test fails, where nobody says otherwise: longer than any flow
/// that is tested in earnest, and short enough to be waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// Flows, and stubs of the functions that they call. See [the module](self).
pub struct TestKit {
    engine: Engine,
    stubs: Arc<Stubs>,
    url: String,
    limit: Duration,
    closing: CancellationToken,
}

impl TestKit {
    /// A kit without flows and stubs.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A kit whose flow-function has other settings, such as `settings.sync_wait`. Those that the kit
    /// does not need for itself come from the environment, as always.
    ///
    /// Where `settings.evaluator` names the flow-function's own program
    /// (`env!("CARGO_BIN_EXE_…")` in an integration test), jq that may not end runs in processes of it,
    /// under their limits; otherwise in threads of the test, under the limit of time alone.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = match bound {
            Ok(bound) => bound,
            Err(error) => panic!("test kit: cannot listen on a free port of 127.0.0.1: {error}"),
        };
        let url = format!("http://{address}");
        let mut settings = Settings::from_environment();
        settings.gateway_url.clone_from(&url);
        settings.keeper_url = None;
        settings.state.url = StateUrl::Memory;
        settings.data = DataUrl::Memory;
        settings.durable = None;
        settings.secrets = PathBuf::from("no-secrets-in-a-test-kit");
        settings.http_allow = crate::outside::HttpAllow::loopback();
        change(&mut settings);
        let evaluates_here = settings.evaluator.is_none();
        let mut engine = match Engine::new(settings) {
            Ok(engine) => engine,
            Err(error) => panic!("test kit: cannot make an HTTP client: {error}"),
        };
        if evaluates_here && let Some(shared) = Arc::get_mut(&mut engine.shared) {
            shared.evaluator.stay_here();
        }
        let (stubs, closing) = (Arc::new(Stubs::default()), CancellationToken::new());
        let router = server::router(engine.clone(), Arc::clone(&stubs));
        tokio::spawn(crate::http::serve_router(listener, router, closing.clone()));
        Self {
            engine,
            stubs,
            url,
            limit: LIMIT,
            closing,
        }
    }

    /// How long a request may take until its test fails; a minute without it.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Serves a flow.
    ///
    /// # Panics
    /// A name that is taken.
    #[track_caller]
    pub fn flow(&self, flow: Flow) -> &Self {
        let name = flow.name().clone();
        if let Err(error) = self.engine.register(flow) {
            panic!("test kit: cannot serve flow {name}: {error}");
        }
        self
    }

    /// Serves a flow in YAML.
    ///
    /// # Panics
    /// Every problem of the text; a name that is taken.
    #[track_caller]
    pub fn yaml(&self, text: &str) -> &Self {
        match read_yaml(text) {
            Ok(flow) => self.flow(flow),
            Err(error) => panic!("test kit: cannot read a flow:\n{error}"),
        }
    }

    /// Serves the flows of a folder's `*.yml` and `*.yaml`, or of one file. Paths are relative to the
    /// package of the test.
    ///
    /// # Panics
    /// What cannot be read; every problem of every flow; a name that is taken; a folder without flows.
    #[track_caller]
    pub fn files(&self, path: impl AsRef<Path>) -> &Self {
        let path = path.as_ref();
        let flows = match load_folder(path) {
            Ok(flows) => flows,
            Err(error) => {
                let text = crate::outside::with_sources(error.to_string(), &error);
                panic!("test kit: {text}")
            }
        };
        assert!(
            !flows.is_empty(),
            "test kit: folder {} holds no *.yaml and no *.yml; name the folder of the flows",
            path.display()
        );
        for flow in flows {
            self.flow(flow);
        }
        self
    }

    /// Answers calls of a function, from now on and in place of an earlier stub. `function` is what
    /// `apply` names, with its namespace where that is written there.
    ///
    /// A stub may panic, by an assertion for example: its call is answered 500, and the test fails
    /// where it waits for the flow.
    pub fn stub<A: Into<Answer>>(
        &self,
        function: &str,
        answer: impl Fn(&Call) -> A + Send + Sync + 'static,
    ) -> &Self {
        self.stubs.set(function, move |call| answer(call).into());
        self
    }

    /// The calls of a function until now, in the order in which they came; also of one without a stub.
    #[must_use]
    pub fn calls(&self, function: &str) -> Vec<Call> {
        self.stubs.calls(function)
    }

    /// Where a stub is reached over HTTP, for `http` nodes; paths and queries may follow.
    #[must_use]
    pub fn url_of(&self, function: &str) -> String {
        format!("{}/function/{function}", self.url)
    }

    /// The kit's gateway, `http://127.0.0.1:PORT`. The flows are the function `flows` there, with the
    /// whole HTTP API.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs a flow to its end. The input is sent as JSON.
    ///
    /// # Panics
    /// A flow that is not there; an input that cannot be written as JSON; a request that has not ended
    /// within the [limit](Self::limit); a stub that panicked.
    pub async fn run<T: Serialize + ?Sized>(&self, flow: &str, input: &T) -> Outcome {
        self.begin(flow, input).await.outcome().await
    }

    /// Runs a flow to its end on bytes of any media type.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub async fn run_body(&self, flow: &str, input: Body) -> Outcome {
        self.begin_body(flow, input).await.outcome().await
    }

    /// Begins a flow, for a test that signals, cancels or looks before its end.
    ///
    /// # Panics
    /// A flow that is not there; an input that cannot be written as JSON.
    pub async fn begin<T: Serialize + ?Sized>(&self, flow: &str, input: &T) -> Running<'_> {
        let bytes = match serde_json::to_vec(input) {
            Ok(bytes) => bytes.into(),
            Err(error) => panic!("test kit: the input of flow {flow} is no JSON: {error}"),
        };
        let content_type = ContentType::JSON;
        let body = Body {
            content_type,
            bytes,
        };
        self.begin_body(flow, body).await
    }

    /// The same on bytes of any media type.
    ///
    /// # Panics
    /// A flow that is not there.
    pub async fn begin_body(&self, flow: &str, input: Body) -> Running<'_> {
        let input = Value::new(input.content_type, Producer::Caller, &input.bytes);
        let started = async {
            let flow = self.engine.newest(flow).await?;
            self.engine
                .start(flow, input, engine::Call::default())
                .await
        };
        match Box::pin(started).await {
            Ok(started) => Running::new(self, flow, started),
            Err(error) => {
                let text = crate::outside::with_sources(error.to_string(), &error);
                panic!("test kit: flow {flow} was not begun: {text}")
            }
        }
    }
}

impl fmt::Debug for TestKit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestKit").field("url", &self.url).finish()
    }
}

impl Drop for TestKit {
    fn drop(&mut self) {
        self.engine.shared.draining.cancel();
        self.engine.shared.closing.cancel();
        self.closing.cancel();
    }
}
