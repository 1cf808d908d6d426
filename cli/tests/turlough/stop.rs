//! The end of `turlough dev` leaves nothing, whatever was going on.

use rustix::process::Signal;

use crate::harness::{Dev, LONG, Running, dev, eventually, exists, fizz_buzz, probe_folder};

#[tokio::test]
async fn interrupt_or_termination_leaves_no_process() {
    for signal in [Signal::INT, Signal::TERM] {
        let dev = Dev::start(&fizz_buzz(), &[]);
        let pids = dev.function_pids();
        assert_eq!(pids.len(), 3);
        assert!(pids.iter().all(|pid| exists(*pid)));
        dev.signal(signal);
        let (status, told) = dev.wait();
        assert_eq!(status.code(), Some(0), "{told}");
        assert!(!pids.iter().any(|pid| exists(*pid)), "after {signal:?}");
    }
}

#[tokio::test]
async fn request_that_hangs_does_not_hold_the_end_up_for_ever() {
    let folder = probe_folder();
    let dev = Dev::start(
        &folder.path().join("stack.yaml"),
        &[("TURLOUGH_DRAIN", "100ms")],
    );
    let pids = dev.function_pids();
    // It follows the events, whose connection stays open as long as the request.
    let waiting = Running::start(dev.command(&["run", "hang"]));
    waiting.line("request ");
    let begun = std::time::Instant::now();
    dev.signal(Signal::INT);
    let (status, told) = dev.wait();
    assert_eq!(status.code(), Some(0), "{told}");
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    assert!(!pids.iter().any(|pid| exists(*pid)));
    // It would try to reach the platform again for a while.
    waiting.signal(Signal::KILL);
    waiting.wait();
}

#[tokio::test]
async fn second_signal_ends_at_once() {
    let folder = probe_folder();
    let dev = Dev::start(
        &folder.path().join("stack.yaml"),
        &[("TURLOUGH_DRAIN", "1h")],
    );
    let pids = dev.function_pids();
    let _id = dev.start_request("hang");
    dev.signal(Signal::INT);
    let client = reqwest::Client::new();
    eventually("new requests are refused", async || {
        let url = dev.url("/function/flows/echo");
        let answer = client.post(url).body("1").send().await.ok()?;
        (answer.status() == 503).then_some(())
    })
    .await;
    dev.signal(Signal::INT);
    let (status, told) = dev.wait();
    assert_eq!(status.code(), Some(130), "{told}");
    let gone = async || (!pids.iter().any(|pid| exists(*pid))).then_some(());
    eventually("functions are gone", gone).await;
}

#[tokio::test]
async fn signal_during_the_start_stops_what_had_started() {
    let folder = probe_folder();
    let stack = folder.path().join("stack.yaml");
    let text = std::fs::read_to_string(&stack).unwrap();
    let (pid_file, script) = (folder.path().join("pid"), folder.path().join("start.sh"));
    // It listens to nobody, so it is never healthy.
    let lines = format!("echo $$ > {}\nexec sleep 600\n", pid_file.display());
    std::fs::write(&script, lines).unwrap();
    let command = format!("sh {}", script.display());
    std::fs::write(&stack, text.replace("python3 handler.py", &command)).unwrap();
    let starting = Running::start(dev(&stack));
    let pid = eventually("the function has started", async || {
        std::fs::read_to_string(&pid_file).ok()?.trim().parse().ok()
    });
    let pid: i64 = pid.await;
    starting.signal(Signal::INT);
    let (code, told) = starting.wait();
    assert_eq!(code, Some(0), "{told}");
    assert!(!exists(pid));
}
