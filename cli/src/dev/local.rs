//! The platform of one machine: it starts in the order in which things need one another, and stops
//! in the reverse one.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use turlough_flow_function::{ServeError, Server, Settings};
use turlough_gateway::{
    FunctionName, FunctionSpec, Gateway, GatewayConfig, GatewayError, Stack, Started,
};
use turlough_sdk::format_duration;

use super::DevArguments;
use super::keeper::DevKeeper;
use super::plan::Plan;
use super::store::{DATA, DevStore};
use crate::amount;
use crate::credentials::Credentials;
use crate::exit::Failure;
use crate::missing::FLOWS_FUNCTION;
use crate::platform::FLOW_FUNCTION_LABEL;
use crate::terminal::Terminal;

/// What a flow-function may need to close its connections once its requests have ended; who follows
/// the events of a request that has not may hold one for ever.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Local {
    pub(super) gateway_url: String,
    pub(super) metrics_addr: SocketAddr,
    pub(super) started: Vec<Started>,
    /// The folder that says who may use the gateway, and what it says.
    pub(super) login: Option<(PathBuf, Credentials)>,
    /// How long open requests may go on once it stops.
    drain: Duration,
    gateway: GatewayState,
    flows: Option<FlowsFunction>,
    keeper: Option<DevKeeper>,
    store: Option<DevStore>,
}

/// The gateway serves from the moment that it is bound; once its functions run it is handed to a task.
#[derive(Debug)]
enum GatewayState {
    Bound(Box<Gateway>),
    Running {
        task: JoinHandle<Result<(), GatewayError>>,
        stop: CancellationToken,
    },
    Ended,
}

/// What serves the YAML flows, in this process.
#[derive(Debug)]
struct FlowsFunction {
    task: JoinHandle<Result<(), ServeError>>,
    stop: CancellationToken,
}

impl Local {
    /// Takes the addresses, and serves the YAML flows behind the gateway.
    pub(super) async fn bind(arguments: &DevArguments, plan: &Plan) -> Result<Self, Failure> {
        let defaults = GatewayConfig::default();
        let config = GatewayConfig {
            listen: arguments.gateway_listen,
            metrics_listen: arguments.metrics_listen,
            log_dir: arguments.log_dir.clone(),
            drain_grace: arguments.drain,
            // A function may need all of the drain time, and then a little to close.
            stop_grace: defaults.stop_grace.max(arguments.drain + CLOSE_GRACE),
            ..defaults
        };
        let config = arguments.queueing.apply(arguments.deploying.apply(config));
        let gateway = Gateway::bind(config).await.map_err(Failure::platform)?;
        let mut settings = Settings::from_environment();
        settings.gateway_url = gateway.url();
        let keeper = DevKeeper::start(&settings).await?;
        if let Some(keeper) = &keeper {
            settings.keeper_url = Some(keeper.url.clone());
        }
        let store = DevStore::start(&settings).await?;
        if let Some(store) = &store {
            settings.data = store.url();
        }
        let flows = if plan.flows.is_empty() {
            None
        } else {
            Some(FlowsFunction::start(&gateway, plan, settings, arguments.drain).await?)
        };
        let login = match &arguments.deploying.basic_auth {
            Some(folder) => {
                let folder = std::path::absolute(folder).map_err(Failure::input)?;
                let credentials = Credentials::of_folder(&folder)?;
                Some((folder, credentials))
            }
            None => None,
        };
        Ok(Self {
            login,
            gateway_url: gateway.url(),
            metrics_addr: gateway.metrics_addr(),
            started: Vec::new(),
            drain: arguments.drain,
            gateway: GatewayState::Bound(Box::new(gateway)),
            flows,
            keeper,
            store,
        })
    }

    /// Starts the functions of the stack, and tells of each. False when it was stopped meanwhile.
    pub(super) async fn start_functions(
        &mut self,
        terminal: Terminal,
        plan: &Plan,
        stop: &CancellationToken,
    ) -> Result<bool, Failure> {
        let GatewayState::Bound(gateway) = &self.gateway else {
            return Ok(true);
        };
        let started = &mut self.started;
        if let Some(stack) = plan.stack.clone() {
            refuse_replicas(&stack)?;
            let keeper = self.keeper.as_ref().map(|keeper| keeper.url.clone());
            let store = self.store.as_ref().map(|store| store.url().to_string());
            let stack = for_this_machine(stack, self.drain, keeper.as_deref(), store.as_deref());
            let all = stack.functions().len();
            terminal.progress(&format!("starting {}", amount::count(all, "function")));
            let starting = gateway.start_stack(&stack, |function| {
                let after = amount::duration(function.ready_after.as_secs_f64() * 1e3);
                terminal.progress(&format!("{} is ready after {after}", function.function));
                started.push(function);
            });
            tokio::select! {
                ended = starting => ended.map_err(Failure::platform)?,
                () = stop.cancelled() => return Ok(false),
            }
        }
        self.started.sort_by(|a, b| a.function.cmp(&b.function));
        self.run_gateway();
        Ok(true)
    }

    /// Returns when the gateway or the flow-function ends without being told to.
    pub(super) async fn broken(&mut self) -> Failure {
        let gateway = async {
            match &mut self.gateway {
                GatewayState::Running { task, .. } => {
                    let ended = task.await;
                    self.gateway = GatewayState::Ended;
                    broken_off("the gateway", ended)
                }
                _ => std::future::pending().await,
            }
        };
        let flows = async {
            match &mut self.flows {
                Some(flows) => {
                    let ended = (&mut flows.task).await;
                    self.flows = None;
                    broken_off("the flow-function", ended)
                }
                None => std::future::pending().await,
            }
        };
        let keeper = async {
            match &mut self.keeper {
                Some(keeper) => {
                    let ended = keeper.ended().await;
                    self.keeper = None;
                    broken_off("the keeper", ended)
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            failure = gateway => failure,
            failure = flows => failure,
            failure = keeper => failure,
        }
    }

    /// First the flow-function, whose requests need the functions; then the gateway, which stops
    /// them. Each has a bound.
    pub(super) async fn stop(mut self) {
        if let Some(mut flows) = self.flows.take() {
            flows.stop.cancel();
            if timeout(self.drain + CLOSE_GRACE, &mut flows.task)
                .await
                .is_err()
            {
                flows.task.abort();
            }
        }
        self.run_gateway();
        if let GatewayState::Running { task, stop } = self.gateway {
            stop.cancel();
            let ended = match task.await {
                Ok(ended) => ended.map_err(anyhow::Error::from),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = ended {
                tracing::error!("the gateway did not stop well: {error:#}");
            }
        }
        if let Some(keeper) = self.keeper {
            keeper.stop().await;
        }
        if let Some(store) = self.store {
            store.stop().await;
        }
    }

    fn run_gateway(&mut self) {
        match std::mem::replace(&mut self.gateway, GatewayState::Ended) {
            GatewayState::Bound(gateway) => {
                let stop = CancellationToken::new();
                let task = tokio::spawn(gateway.run(stop.clone()));
                self.gateway = GatewayState::Running { task, stop };
            }
            other => self.gateway = other,
        }
    }
}

impl FlowsFunction {
    async fn start(
        gateway: &Gateway,
        plan: &Plan,
        mut settings: Settings,
        drain: Duration,
    ) -> Result<Self, Failure> {
        let name = FLOWS_FUNCTION;
        settings.function = name.parse().map_err(Failure::platform)?;
        settings.listen = Ipv4Addr::LOCALHOST.into();
        settings.port = 0;
        settings.drain = Some(drain);
        let server = Server::bind(settings, plan.flows.clone()).await;
        let server = server.map_err(|error| match error {
            ServeError::Register(_) => Failure::input(error),
            _ => Failure::platform(error),
        })?;
        let address = server
            .local_addr()
            .context("cannot tell where the flow-function listens")
            .map_err(Failure::platform)?;
        let mut spec = FunctionSpec::new(FunctionName::parse(name).map_err(Failure::platform)?);
        spec.labels
            .insert(FLOW_FUNCTION_LABEL.to_owned(), "true".to_owned());
        let registered = gateway
            .registry()
            .add_static(spec, &format!("http://{address}"));
        registered.map_err(Failure::platform)?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Ok(Self { task, stop })
    }
}

/// Flow-functions listen on all addresses, as containers must; here on this machine's alone. They
/// have as long for their open requests as the one in this process, and the same keeper and store.
fn for_this_machine(
    mut stack: Stack,
    drain: Duration,
    keeper: Option<&str>,
    store: Option<&str>,
) -> Stack {
    let plain = !std::io::stderr().is_terminal();
    for function in stack.functions_mut() {
        // It may be lent the store of its host.
        if let Some(url) = store {
            let environment = &mut function.process.environment;
            environment
                .entry(DATA.to_owned())
                .or_insert_with(|| url.to_owned());
        }
        let label = function.spec.labels.get(FLOW_FUNCTION_LABEL);
        if label.is_some_and(|value| value == "true") {
            let environment = &mut function.process.environment;
            let mut default = |name: &str, value: &str| {
                environment
                    .entry(name.to_owned())
                    .or_insert_with(|| value.to_owned());
            };
            default("TURLOUGH_LISTEN", "127.0.0.1");
            default("TURLOUGH_DRAIN", &format_duration(drain));
            if let Some(url) = keeper {
                default("TURLOUGH_KEEPER_URL", url);
            }
            if plain {
                default("NO_COLOR", "1");
            }
        }
    }
    stack
}

/// State in memory or in a folder is of one process.
fn refuse_replicas(stack: &Stack) -> Result<(), Failure> {
    for function in stack.functions() {
        let label = function.spec.labels.get(FLOW_FUNCTION_LABEL);
        let replicas = function.spec.replicas_min().unwrap_or(1);
        if replicas == 1 || label.is_none_or(|value| value != "true") {
            continue;
        }
        let own = function.process.environment.get("TURLOUGH_STATE").cloned();
        let state = own.or_else(|| std::env::var("TURLOUGH_STATE").ok());
        let state = state.unwrap_or_else(|| "memory:".to_owned());
        if state.starts_with("memory:") || state.starts_with("file:") {
            return Err(Failure::input(anyhow!(
                "function {} is to have {replicas} replicas, and its state {state} is of one process; \
                 set TURLOUGH_STATE to nats://… or redis://…, or com.openfaas.scale.min to 1",
                function.spec.name
            )));
        }
    }
    Ok(())
}

fn broken_off<E: Into<anyhow::Error>>(
    what: &str,
    ended: Result<Result<(), E>, tokio::task::JoinError>,
) -> Failure {
    let cause = match ended {
        Ok(Ok(())) => anyhow!("it ended"),
        Ok(Err(error)) => error.into(),
        Err(error) => error.into(),
    };
    Failure::platform(cause.context(format!("{what} broke off")))
}
