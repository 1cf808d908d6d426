//! Runs schedules by the thousand.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Instant;

use turlough_sdk::{Flow, read_yaml};

use super::flows;
use super::world::{Size, World};
use crate::dice::Dice;

/// Schedules of one flow: reading it costs as much as a few of them.
const SCHEDULES_OF_A_FLOW: u64 = 8;

/// A flow and its other version, and the nodes that are the same in both.
struct Pair {
    text: String,
    flow: Arc<Flow>,
    other: Option<Arc<Flow>>,
    same: Vec<String>,
}

fn pair(seed: u64) -> Option<Pair> {
    let drawn = flows::flow(&mut Dice(seed));
    let flow = Arc::new(read_yaml(&drawn.text).ok()?);
    let other = read_yaml(&drawn.other).ok().map(Arc::new);
    let other = other.filter(|other| other.version() != flow.version());
    let lines = drawn
        .text
        .lines()
        .filter(|line| drawn.other.lines().any(|it| it == *line));
    let same = lines.filter_map(|line| line.trim().split_once(':'));
    let same = same.map(|(name, _)| name.to_owned()).collect();
    Some(Pair {
        text: drawn.text,
        flow,
        other,
        same,
    })
}

thread_local! {
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What failed is told once, with its seed; not by every thread as it goes.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let quiet = SAID.with(|said| {
                let mut said = said.borrow_mut();
                let listening = !said.is_empty();
                if listening {
                    *said = format!("{info}");
                }
                listening
            });
            if !quiet {
                before(info);
            }
        }));
    });
}

fn nodes(graph: &turlough_sdk::Graph) -> usize {
    use turlough_sdk::Operation::{ForEach, Loop};
    let inner = graph.nodes.iter().map(|node| match &node.operation {
        ForEach(each) => nodes(&each.body),
        Loop(it) => nodes(&it.body),
        _ => 0,
    });
    graph.nodes.len() + inner.sum::<usize>()
}

/// Plays one schedule; what failed, where something did.
fn schedule(pair: &Pair, seed: u64) -> Result<Size, String> {
    listen();
    SAID.with(|said| *said.borrow_mut() = "?".to_owned());
    let played = catch_unwind(AssertUnwindSafe(|| {
        let same = pair.same.clone();
        let mut world = World::new(Dice(seed), &pair.flow, pair.other.as_ref(), same);
        world.play();
        world.size
    }));
    let said = SAID.with(|said| std::mem::take(&mut *said.borrow_mut()));
    let size = played.map_err(|_| format!("seed {seed}: {said}\n{}", pair.text))?;
    Ok(Size {
        nodes: nodes(pair.flow.graph()),
        ..size
    })
}

fn flow_seed(seed: u64) -> u64 {
    (seed / SCHEDULES_OF_A_FLOW).wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// Plays schedules of flows that are valid, on as many threads as there are cores, up to the first that
/// fails.
pub(super) fn explore(
    schedules: u64,
    prepare: impl Fn() + Sync,
) -> Result<Vec<Size>, (u64, String)> {
    let (next, played) = (AtomicU64::new(0), AtomicU64::new(0));
    let failed = Mutex::new(None::<(u64, String)>);
    let sizes = Mutex::new(Vec::new());
    let work = || {
        prepare();
        let mut found = Vec::new();
        loop {
            let enough = played.load(Ordering::Relaxed) >= schedules;
            if enough || failed.lock().unwrap().is_some() {
                break;
            }
            let first = next.fetch_add(SCHEDULES_OF_A_FLOW, Ordering::Relaxed);
            let Some(pair) = pair(flow_seed(first)) else {
                continue;
            };
            played.fetch_add(SCHEDULES_OF_A_FLOW, Ordering::Relaxed);
            for seed in first..first + SCHEDULES_OF_A_FLOW {
                match schedule(&pair, seed) {
                    Ok(size) => found.push(size),
                    Err(error) => {
                        let mut failed = failed.lock().unwrap();
                        if failed.as_ref().is_none_or(|(before, _)| *before > seed) {
                            *failed = Some((seed, error));
                        }
                        break;
                    }
                }
            }
        }
        sizes.lock().unwrap().extend(found);
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    match failed.into_inner().unwrap() {
        Some(failed) => Err(failed),
        None => Ok(sizes.into_inner().unwrap()),
    }
}

/// Schedules that are played in every test.
pub(super) const SCHEDULES: u64 = 20_000;

fn schedules() -> u64 {
    let asked = std::env::var("TURLOUGH_SCHEDULES").ok();
    asked
        .and_then(|number| number.parse().ok())
        .unwrap_or(SCHEDULES)
}

#[test]
fn any_flow_under_any_schedule_does_what_the_rules_say() {
    let begin = Instant::now();
    let sizes = explore(schedules(), || ()).unwrap_or_else(|(_, error)| panic!("{error}"));
    let spread = |of: fn(&Size) -> usize| {
        let mut all: Vec<_> = sizes.iter().map(of).collect();
        all.sort_unstable();
        let at = |percent: usize| all[(all.len() - 1) * percent / 100];
        format!("{}/{}/{}", at(50), at(90), at(100))
    };
    let (took, count) = (begin.elapsed().as_secs_f64(), sizes.len());
    println!(
        "{count} schedules in {took:.1} s, {:.0}/s; p50/p90/max: nodes {}, steps {}, events {}",
        count as f64 / took,
        spread(|size| size.nodes),
        spread(|size| size.steps),
        spread(|size| size.events),
    );
    assert!(count as u64 >= schedules(), "only {count} were played");
}

#[test]
#[ignore = "runs the schedule of TURLOUGH_SEED again"]
fn one_schedule() {
    let seed: u64 = std::env::var("TURLOUGH_SEED").unwrap().parse().unwrap();
    let pair = pair(flow_seed(seed)).unwrap();
    println!("{}", pair.text);
    let mut world = World::new(Dice(seed), &pair.flow, pair.other.as_ref(), pair.same);
    world.play();
}

#[test]
#[ignore = "counts failures by where they are found, instead of stopping at the first"]
fn survey() {
    let mut found = std::collections::BTreeMap::<String, (Vec<u64>, String)>::new();
    let mut fine = 0;
    for first in (0..schedules()).step_by(SCHEDULES_OF_A_FLOW as usize) {
        let Some(pair) = pair(flow_seed(first)) else {
            continue;
        };
        for seed in first..first + SCHEDULES_OF_A_FLOW {
            match schedule(&pair, seed) {
                Ok(_) => fine += 1,
                Err(error) => {
                    let place = error.split("panicked at ").nth(1).unwrap_or(&error);
                    let place: String = place.lines().take(1).collect();
                    let (seeds, shortest) = found.entry(place).or_default();
                    seeds.push(seed);
                    if shortest.is_empty() || error.len() < shortest.len() {
                        *shortest = error;
                    }
                }
            }
        }
    }
    println!("{fine} fine");
    for (place, (seeds, error)) in found {
        println!("=== {} at {place} {seeds:?}\n{error}", seeds.len());
    }
}
