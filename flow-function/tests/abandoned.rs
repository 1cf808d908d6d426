//! Closures that never return: they are counted, and a replica with too many of them is replaced.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod platform;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use platform::Platform;
use serde_json::Value as Json;
use turlough_flow_function::{Flow, Settings, StepError, main_with};

/// What closures wait for.
#[derive(Debug, Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn wait(&self) {
        let open = self.0.lock().unwrap();
        drop(self.1.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

/// Lets them go however the test ends: a runtime waits for its threads.
struct Opens(Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

fn stuck(gate: Arc<Gate>) -> Flow {
    let flow = Flow::builder("stuck").timeout(Duration::from_secs(60));
    let n = flow.input::<u32>();
    let step = flow
        .map("wait", &n, move |n: u32| -> Result<u32, StepError> {
            gate.wait();
            Ok(n)
        })
        .timeout(Duration::from_millis(100));
    flow.output(&step).build().unwrap()
}

fn quick() -> Flow {
    let flow = Flow::builder("quick");
    let n = flow.input::<u32>();
    let step = flow.map("next", &n, |n: u32| -> Result<u32, StepError> { Ok(n + 1) });
    flow.output(&step).build().unwrap()
}

async fn count(platform: &Platform) -> u32 {
    let url = format!("{}/metrics", platform.direct);
    let text = platform
        .http
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("turlough_closures_abandoned{tenant=\"default\"} "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn closures_past_their_limit_count_until_they_return_and_too_many_turn_requests_away() {
    let gate = Arc::new(Gate::default());
    let _opens = Opens(Arc::clone(&gate));
    let flows = vec![stuck(Arc::clone(&gate)), quick()];
    let platform = Platform::with(flows, |settings| settings.abandoned_max = 2).await;
    let ready = || async {
        let answer = platform
            .http
            .get(format!("{}/_/ready", platform.direct))
            .send()
            .await;
        answer.unwrap()
    };
    for abandoned in 1..=2 {
        assert_eq!(ready().await.status(), 200);
        assert_eq!(
            platform.post("/quick", "1").await.text().await.unwrap(),
            "2"
        );
        let problem: Json = platform.post("/stuck", "1").await.json().await.unwrap();
        assert_eq!(problem["cause"], "timeout", "{problem}");
        assert_eq!(count(&platform).await, abandoned);
    }
    let unready = ready().await;
    assert_eq!(unready.status(), 503);
    let text = unready.text().await.unwrap();
    assert!(
        text.contains("2 closures run on") && text.contains("TURLOUGH_ABANDONED_MAX"),
        "{text}"
    );
    let refused = platform.post("/quick", "1").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    // They return after all.
    gate.open();
    for _ in 0..1_000 {
        if count(&platform).await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ready().await.status(), 200);
    assert_eq!(
        platform.post("/quick", "1").await.text().await.unwrap(),
        "2"
    );
}

const CHILD: &str = "TURLOUGH_TEST_CHILD";

/// Not a test, but the process of the one below: it serves closures that never return.
#[test]
fn a_process_of_the_next_test() -> ExitCode {
    if std::env::var_os(CHILD).is_none() {
        return ExitCode::SUCCESS;
    }
    main_with(
        Settings::from_environment(),
        Ok(vec![stuck(Arc::default())]),
    )
}

#[tokio::test]
async fn a_process_with_too_many_abandoned_closures_ends_with_a_failure() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "a_process_of_the_next_test"])
        .env_clear()
        .env(CHILD, "1")
        .env("TURLOUGH_LISTEN", "127.0.0.1")
        .env("TURLOUGH_ABANDONED_MAX", "3")
        .env("TURLOUGH_DRAIN", "500ms")
        .env("port", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut address) = (String::new(), None);
    while address.is_none() {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended at once");
        address = line.split("127.0.0.1:").nth(1).map(|port| {
            let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
            format!("http://127.0.0.1:{digits}")
        });
    }
    let rest = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for _ in 0..3 {
        let url = format!("{}/stuck", address.as_ref().unwrap());
        assert!(
            http.post(url)
                .body("1")
                .send()
                .await
                .unwrap()
                .status()
                .is_server_error()
        );
    }
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("it does not end");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(!status.success());
    let log = rest.join().unwrap().unwrap();
    assert!(
        log.contains("ERROR") && log.contains("too many closures run on"),
        "{log}"
    );
    assert!(log.contains("error: 3 closures ran on after"), "{log}");
}
