//! Blows at random against a whole platform, while requests of every kind are open. Afterwards each has
//! ended as it must, what may be done once was done once, and nothing is left.
//!
//! `TURLOUGH_KILLS` says how many kills there are (what is stopped and goes on comes on top of them),
//! `TURLOUGH_SEED` which.

mod checks;
mod counters;
mod flows;
mod functions;
mod harm;
mod left;
mod load;
mod logs;
mod once;
mod platform;
mod processes;
mod random;
mod receiver;
mod roles;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use turlough_statestore::Event;

use checks::{Findings, Remains};
use harm::{Blow, Harm, Harms};
use load::{Asked, Begun};
use logs::Logs;
use platform::{Backend, Platform};
use random::Random;

/// Campaigns come one after another: each wants the machine for itself.
static TURN: Mutex<()> = Mutex::const_new(());

/// A campaign that is to be run.
#[derive(Debug, Clone, Copy)]
struct Plan {
    backend: Backend,
    kills: u64,
    seed: u64,
    /// How long requests may take to come to their ends once all is whole.
    patience: Duration,
    planted: Option<&'static str>,
    /// Replicas are stopped one by one, in place of kills and all else.
    stops: bool,
}

impl Plan {
    fn new(backend: Backend) -> Self {
        Self {
            backend,
            kills: setting("TURLOUGH_KILLS", 8),
            // In a short campaign it has everything killed at least once, and a replica stopped.
            seed: setting("TURLOUGH_SEED", 20_261_334),
            patience: Duration::from_secs(180),
            planted: None,
            stops: false,
        }
    }

    /// How long something is stopped at most: in a short campaign there is no time for more.
    const fn stop_max(&self) -> Duration {
        Duration::from_secs(if self.kills < 20 { 6 } else { 20 })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_doubles_or_hangs_a_request_in_jetstream() {
    succeeds(Plan::new(Backend::JetStream)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_doubles_or_hangs_a_request_in_redis() {
    succeeds(Plan::new(Backend::Redis)).await;
}

/// With a rule taken out the campaign fails, or it would prove nothing.
#[cfg(feature = "planted-faults")]
mod proof {
    use super::{Backend, Duration, Plan, campaign, setting, succeeds};

    /// A campaign of so many blows, with a rule taken out.
    fn without(rule: &'static str, backend: Backend, kills: u64) -> Plan {
        Plan {
            patience: Duration::from_secs(60),
            planted: Some(rule),
            kills: setting("TURLOUGH_KILLS", kills),
            ..Plan::new(backend)
        }
    }

    /// What is found says so much.
    async fn finds(plan: Plan, says: &str) {
        let (rule, backend) = (plan.planted.unwrap_or_default(), plan.backend);
        let wrong = campaign(plan).await;
        println!("{rule} in {backend:?}: {} findings", wrong.len());
        wrong.iter().take(5).for_each(|wrong| println!("  {wrong}"));
        let is_found = wrong.iter().any(|wrong| wrong.contains(says));
        assert!(
            is_found,
            "{plan:?} found nothing that says {says:?}: {wrong:#?}"
        );
    }

    /// Where everything is killed at random, other rules make good most of what such drivers do. It
    /// shows where one wakes up just when whoever took over from it gives up its call.
    async fn finds_by_stops(rule: &'static str, backend: Backend) {
        let plan = Plan {
            stops: true,
            ..without(rule, backend, 15)
        };
        finds(plan, "request ").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn drivers_that_do_not_look_at_claims_are_found_in_jetstream() {
        finds_by_stops("epoch", Backend::JetStream).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn drivers_that_do_not_look_at_claims_are_found_in_redis() {
        finds_by_stops("epoch", Backend::Redis).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conflicts_that_count_as_stored_are_found_in_jetstream() {
        finds_by_stops("conflict", Backend::JetStream).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conflicts_that_count_as_stored_are_found_in_redis() {
        finds_by_stops("conflict", Backend::Redis).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn drivers_that_wake_up_and_look_are_not_found() {
        for backend in [Backend::JetStream, Backend::Redis] {
            let (kills, stops) = (setting("TURLOUGH_KILLS", 15), true);
            succeeds(Plan {
                kills,
                stops,
                ..Plan::new(backend)
            })
            .await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn requests_that_are_never_settled_are_found() {
        for backend in [Backend::JetStream, Backend::Redis] {
            finds(without("settling", backend, 4), "is not settled").await;
        }
    }
}

async fn succeeds(plan: Plan) {
    let wrong = campaign(plan).await;
    let all = wrong.join("\n");
    assert!(
        wrong.is_empty(),
        "{plan:?}: {} findings:\n{all}",
        wrong.len()
    );
}

/// Runs a campaign; what was found wrong.
async fn campaign(plan: Plan) -> Vec<String> {
    let _turn = TURN.lock().await;
    let (seed, kills, backend) = (plan.seed, plan.kills, plan.backend);
    println!("{backend:?}: TURLOUGH_SEED={seed} TURLOUGH_KILLS={kills}");
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::start(backend, folder.path(), plan.planted).await;
    let platform = Arc::new(platform);
    let told = receiver::listen(folder.path()).await;
    // Each has numbers of its own: how many requests there are is a matter of time, too.
    let (mut random, mut of_requests) = (Random::new(seed), Random::new(!seed));
    let mut requests = JoinSet::new();
    let mut harms = Harms::new(&platform);
    let (mut number, mut done, mut drawn) = (0, 0, None);
    while done < kills {
        for _ in 0..of_requests.between(8, 20) {
            let asked = Asked::draw(number, &mut of_requests);
            let make = load::make(Arc::clone(&platform), asked, told.clone(), plan.patience);
            requests.spawn(make);
            number += 1;
        }
        let pause = Duration::from_millis(of_requests.between(200, 1_500));
        let until = Instant::now() + pause;
        while Instant::now() < until {
            harms.look().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let harm = *drawn.get_or_insert_with(|| match plan.stops {
            true => Harm::draw_stop(&mut random),
            false => Harm::draw(&mut random, plan.stop_max()),
        });
        if !harms.can_deal(harm) || plan.stops && !harms.are_over() {
            continue;
        }
        drawn = None;
        done += u64::from(plan.stops || harm.blow != Blow::Stop);
        println!("{done}/{kills}: {harm:?}, after {number} requests");
        harms.deal(harm).await;
    }
    let mut wrong = Vec::new();
    let dealt = harms.over().await.unwrap_or_else(|| {
        wrong.push("not everything was whole again within two minutes".to_owned());
        Vec::new()
    });
    let begun = all_of(requests, &mut wrong).await;
    let logs = settled(&platform, plan.patience, begun.len()).await;
    left::nothing(&platform, plan.patience, &mut wrong).await;
    let remains = Remains {
        begun,
        logs,
        lines: counters::read(folder.path()),
        words: receiver::read(folder.path()),
        dealt,
    };
    let findings = remains.check();
    report(&remains, &findings);
    wrong.extend(findings.wrong);
    drop(platform);
    if !wrong.is_empty() {
        println!("its files are in {}", folder.keep().display());
    }
    wrong
}

async fn all_of(
    mut requests: JoinSet<Result<Begun, String>>,
    wrong: &mut Vec<String>,
) -> Vec<Begun> {
    let mut all = Vec::new();
    while let Some(begun) = requests.join_next().await {
        match begun.unwrap() {
            Ok(begun) => all.push(begun),
            Err(why) => wrong.push(why),
        }
    }
    all
}

/// The logs, once every request is settled, or in the end as they are then.
async fn settled(platform: &Platform, patience: Duration, least: usize) -> Logs {
    let until = Instant::now() + patience;
    let mut logs = Logs::default();
    while Instant::now() < until {
        logs.read_on(&platform.state).await;
        if logs.requests.len() >= least && logs.unsettled().is_empty() {
            break;
        }
    }
    // From the start, so that they are what stands there now.
    let mut logs = Logs::default();
    logs.read_on(&platform.state).await;
    logs
}

fn report(remains: &Remains, findings: &Findings) {
    let mut kinds = BTreeMap::<_, usize>::new();
    for begun in &remains.begun {
        *kinds.entry(begun.asked.kind).or_default() += 1;
    }
    let mut blows = BTreeMap::<_, usize>::new();
    for dealt in &remains.dealt {
        let (blow, whom) = (dealt.blow, dealt.whom);
        *blows.entry(format!("{blow:?} of {whom:?}")).or_default() += 1;
    }
    let (requests, calls) = (remains.begun.len(), remains.lines.len() / 2);
    println!("{requests} requests {kinds:?}; about {calls} calls");
    println!("{} blows {blows:?}", remains.dealt.len());
    println!("calls that may be made once: {:?}", findings.once);
    println!("{} words of ends", remains.words.len());
    let dead = findings.dead;
    let appends = remains.logs.requests.values().flatten();
    let is_lost = |event: &&Event| matches!(event, Event::OutputLost { .. });
    let lost = appends.flat_map(|append| &append.events).filter(is_lost);
    println!("{} outputs were lost and made again", lost.count());
    println!("{dead} given up after replica upon replica was killed with them");
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

/// Unix time.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}
