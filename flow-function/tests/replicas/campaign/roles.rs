//! The processes of the campaign that are no programs of their own: this executable, started once more.
//!
//! A role is told by `CAMPAIGN_ROLE`, and everything else by the environment, too, so that a process
//! that is killed is started again as it was.

use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use turlough_gateway::{AsyncConfig, Gateway, GatewayConfig, GatewayError, Stack};
use turlough_keeper::{IndexPlace, Keeper, Options as KeeperOptions};
use turlough_sdk::ReplicaId;
use uuid::Uuid;

use super::functions;
use super::platform::{HEARTBEAT, open};

/// The arguments with which this executable does nothing but play a role.
pub(crate) const ARGUMENTS: [&str; 4] = [
    "--ignored",
    "--exact",
    "campaign::roles::plays_its_role",
    "--nocapture",
];

#[test]
#[ignore = "a process of the campaign, which starts it"]
fn plays_its_role() {
    let Ok(role) = std::env::var("CAMPAIGN_ROLE") else {
        return;
    };
    turlough_telemetry::LogFormat::Text.install("info");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    match role.as_str() {
        "gateway" => {
            end_with_the_campaign();
            runtime.block_on(gateway());
        }
        "keeper" => {
            end_with_the_campaign();
            runtime.block_on(keeper());
        }
        "functions" => runtime.block_on(functions::serve(&folder(), number("port"))),
        _ => panic!("{role:?} is no role"),
    }
}

/// Standard input ends with whoever started this process, however it ended.
fn end_with_the_campaign() {
    std::thread::spawn(|| {
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        std::process::exit(1);
    });
}

/// The gateway, with the functions and the replicas of the flow-function as its processes.
async fn gateway() {
    let config = GatewayConfig {
        listen: format!("127.0.0.1:{}", number("CAMPAIGN_PORT"))
            .parse()
            .unwrap(),
        metrics_listen: "127.0.0.1:0".parse().unwrap(),
        log_dir: Some(folder().join("logs")),
        // Calls of a process that is stopped go to another when they are made again.
        upstream_timeout: Duration::from_secs(10),
        asynchronous: AsyncConfig {
            callback_timeout: Duration::from_secs(5),
            ..AsyncConfig::default()
        },
        ..GatewayConfig::default()
    };
    let stack = Stack::load(&folder().join("stack.yaml")).unwrap();
    let gateway = loop {
        match Gateway::bind(config.clone()).await {
            Ok(gateway) => break gateway,
            // What the last one left is on its way out.
            Err(GatewayError::AddressInUse { .. }) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    let stop = terminated();
    tokio::select! {
        // It does not try again where a process ends before it was healthy; whoever runs it does.
        started = gateway.start_stack(&stack, |_| {}) => if let Err(error) = started {
            tracing::error!(%error, "gateway ends");
            std::process::exit(1);
        },
        () = stop.cancelled() => {}
    }
    gateway.run(stop).await.unwrap();
}

/// A keeper with an index of its own, and times that fit the heartbeat of the campaign.
async fn keeper() {
    let state = loop {
        match open(&text("TURLOUGH_STATE")).await {
            Ok(state) => break state,
            Err(error) if error.passes() => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let replica = ReplicaId::from_uuid(Uuid::new_v4());
    let options = KeeperOptions {
        heartbeat: HEARTBEAT,
        gateway_url: Some(text("TURLOUGH_GATEWAY_URL")),
        index: IndexPlace::File(folder().join(text("CAMPAIGN_INDEX"))),
        silent: Duration::from_secs(5),
        grace: Duration::from_millis(500),
        repeat: Duration::from_secs(3),
        ..KeeperOptions::new(replica, "default".parse().unwrap())
    };
    let keeper = Keeper::start(state, options).await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", number("CAMPAIGN_PORT")))
        .await
        .unwrap();
    let stop = terminated();
    axum::serve(listener, keeper.router())
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .unwrap();
    keeper.stop().await;
}

/// Ends at SIGTERM.
fn terminated() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    tokio::spawn(async move {
        terminate.recv().await;
        stopping.cancel();
    });
    stop
}

fn folder() -> PathBuf {
    text("CAMPAIGN_FOLDER").into()
}

fn number(name: &str) -> u16 {
    text(name).parse().unwrap()
}

fn text(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}
