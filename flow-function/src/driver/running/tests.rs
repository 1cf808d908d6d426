use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::*;

const REPEATABLE: Marks = Marks {
    begins_child: false,
    is_once: false,
};
const ONCE: Marks = Marks {
    is_once: true,
    ..REPEATABLE
};

fn key(name: &str) -> Key {
    (name.into(), 1)
}

async fn late(name: &'static str, go: oneshot::Receiver<()>) -> Attempted {
    go.await.unwrap();
    let (step, attempt) = key(name);
    Attempted::Late { step, attempt }
}

#[tokio::test]
async fn the_only_one_is_run_by_whoever_waits_and_others_are_tasks() {
    let mut running = Running::default();
    assert!(running.next().await.is_none());
    let (go_a, a) = oneshot::channel();
    let (go_b, b) = oneshot::channel();
    running.run_here(key("a"), REPEATABLE, late("a", a));
    running.run_here(key("b"), REPEATABLE, late("b", b));
    assert!(running.here.is_some());
    assert_eq!(running.tasks.len(), 1);
    for (go, name) in [(go_b, "b"), (go_a, "a")] {
        go.send(()).unwrap();
        let ended = running.next().await.unwrap();
        assert_eq!(ended.key, key(name));
        assert!(matches!(ended.end, End::CameTo(_)));
        assert!(!running.has(&key(name)));
    }
    assert!(running.is_empty() && running.next().await.is_none());
}

#[tokio::test]
async fn one_that_is_stopped_is_gone_at_once_and_told_of() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let mut running = Running::default();
    let dropped = Arc::new(AtomicBool::new(false));
    let held = Dropped(Arc::clone(&dropped));
    running.run_here(key("a"), REPEATABLE, async move {
        let _held = held;
        std::future::pending().await
    });
    running.spawn(key("b"), REPEATABLE, std::future::pending());
    running.spawn(key("c"), ONCE, std::future::pending());
    let mut stopped = running.stop_repeatable();
    stopped.sort();
    assert_eq!(stopped, [key("a").0, key("b").0]);
    assert!(dropped.load(Ordering::Relaxed));
    for _ in 0..2 {
        let ended = running.next().await.unwrap();
        assert!(matches!(ended.end, End::Stopped), "{ended:?}");
    }
    assert!(running.has_once());
    assert!(running.stop(&key("a")).is_none());
    assert!(running.stop(&key("c")).unwrap().is_once);
    assert!(matches!(running.next().await.unwrap().end, End::Stopped));
}

#[tokio::test]
async fn one_that_panics_is_lost_wherever_it_runs() {
    let mut running = Running::default();
    running.run_here(key("a"), REPEATABLE, async { panic!("a") });
    running.spawn(key("b"), REPEATABLE, async { panic!("b") });
    for _ in 0..2 {
        let ended = running.next().await.unwrap();
        assert!(matches!(ended.end, End::Lost(_)), "{ended:?}");
    }
}

#[tokio::test]
async fn what_must_not_be_repeated_goes_on_without_its_driver() {
    let mut running = Running::default();
    let (go, a) = oneshot::channel();
    running.run_here(key("a"), ONCE, late("a", a));
    assert!(running.stop_repeatable().is_empty());
    let mut rest = running.hand_out();
    assert!(running.is_empty());
    go.send(()).unwrap();
    assert!(matches!(
        rest.join_next().await,
        Some(Ok(Attempted::Late { .. }))
    ));
}
