//! The program against a gateway and a flow-function in this process: that it measures, checks what
//! it is answered, and leaves nothing open. How fast anything is, is not asked here.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;
use tokio_util::sync::{CancellationToken, DropGuard};
use turlough_flow_function::{Server, Settings};
use turlough_gateway::{FunctionName, FunctionSpec, Gateway, GatewayConfig};

const PROGRAM: &str = env!("CARGO_BIN_EXE_turlough-loadtest");

struct Platform {
    url: String,
    noop: Child,
    _stop: DropGuard,
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.noop.kill().unwrap();
        self.noop.wait().unwrap();
    }
}

impl Platform {
    async fn start() -> Self {
        let free = (Ipv4Addr::LOCALHOST, 0).into();
        let config = GatewayConfig {
            listen: free,
            metrics_listen: free,
            ..GatewayConfig::default()
        };
        let gateway = Gateway::bind(config).await.unwrap();
        let mut settings = Settings::from_environment();
        settings.gateway_url = gateway.url();
        settings.listen = Ipv4Addr::LOCALHOST.into();
        settings.port = 0;
        settings.secrets = "no-such-folder".into();
        let server = Server::bind(settings, Vec::new()).await.unwrap();
        let flows = format!("http://{}", server.local_addr().unwrap());
        let (noop, noop_url) = noop().await;
        for (name, url) in [("flows", flows), ("noop", noop_url)] {
            let spec = FunctionSpec::new(FunctionName::parse(name).unwrap());
            gateway.registry().add_static(spec, &url).unwrap();
        }
        let (url, stop) = (gateway.url(), CancellationToken::new());
        tokio::spawn(server.run(stop.clone()));
        tokio::spawn(gateway.run(stop.clone()));
        Self {
            url,
            noop,
            _stop: stop.drop_guard(),
        }
    }

    /// Runs the program, and gives whether it ended well and what it wrote.
    async fn run(&self, arguments: &str) -> (bool, Json, String) {
        let ran = tokio::process::Command::new(PROGRAM)
            .args(arguments.split_whitespace())
            .args(["--gateway", &self.url, "--output", "json"])
            .output()
            .await
            .unwrap();
        let report = serde_json::from_slice(&ran.stdout).unwrap_or(Json::Null);
        let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
        (ran.status.success(), report, errors)
    }

    async fn measured(&self, arguments: &str) -> Json {
        let (well, report, errors) = self.run(arguments).await;
        assert!(well, "{arguments}: {report} {errors}");
        report
    }
}

/// The no-op function of the program itself, once it answers.
async fn noop() -> (Child, String) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut process = Command::new(PROGRAM)
        .arg("serve-noop")
        .env("port", port.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let health = format!("{url}/_/health");
    while reqwest::get(&health).await.is_err() {
        assert!(process.try_wait().unwrap().is_none(), "serve-noop ended");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    (process, url)
}

const SHORT: &str = "--requests 2 --rounds 2 --warm-up 1";

#[tokio::test(flavor = "multi_thread")]
async fn chains_of_every_kind_are_measured_beside_calls() {
    let platform = Platform::start().await;
    for kind in ["", "--pure", "--pass", "--concurrency 4"] {
        let report = platform
            .measured(&format!("chain --steps 1,3,8 {kind} {SHORT}"))
            .await;
        assert_eq!(report["sizes"].as_array().unwrap().len(), 3, "{report}");
        assert_eq!(report["baseline"]["calls_per_turn"], 5);
        assert_eq!(report["ratio_rounds"].as_array().unwrap().len(), 2);
        assert!(report["append_us_mean"].as_f64().unwrap() > 0.0);
        assert!(report["raw_ns"].is_null());
    }
    let report = platform
        .measured(&format!("chain --steps 1,3 --raw {SHORT}"))
        .await;
    let samples = &report["raw_ns"]["sizes"]["3"];
    assert_eq!(samples.as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn fan_outs_and_throughput_are_measured() {
    let platform = Platform::start().await;
    let fanout = format!("fanout --branches 2,20 --max-parallel 4 {SHORT}");
    let report = platform.measured(&fanout).await;
    assert_eq!(report["sizes"][1]["size"], 20);
    let report = platform
        .measured("throughput --steps 2 --concurrency 4 --seconds 0.2 --warm-up-seconds 0.1")
        .await;
    assert!(report["right"].as_u64().unwrap() > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sleeping_requests_are_cancelled_when_it_is_over() {
    let platform = Platform::start().await;
    let open = format!("open --open 3,7 --steps 1,3 --starters 2 {SHORT}");
    let report = platform.measured(&open).await;
    assert_eq!(report["rows"][1]["open"], 7);
    let list = async |status: &str| -> usize {
        let url = format!("{}/function/flows/requests?status={status}", platform.url);
        let list: Json = reqwest::get(url).await.unwrap().json().await.unwrap();
        list["requests"].as_array().unwrap().len()
    };
    assert_eq!((list("sleeping").await, list("cancelled").await), (0, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_ends_the_measurement() {
    let platform = Platform::start().await;
    let peer = format!("chain --url {}/function/noop --steps 1,2", platform.url);
    let (well, _, errors) = platform.run(&peer).await;
    assert!(!well);
    assert!(
        errors.contains("422") && errors.contains("not a number"),
        "{errors}"
    );
}
