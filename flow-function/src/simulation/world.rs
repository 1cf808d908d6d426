//! All hosts, and the time that passes for them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use turlough_keeper::{Clock, IndexPlace, Keeper, Options};
use turlough_sdk::{ReplicaId, RequestId};
use turlough_statestore::{Options as StateOptions, Record, Seq};
use uuid::Uuid;

use super::flows;
use super::functions::Functions;
use super::host::{Host, LinkOf, Part};
use super::server::{SYNC_INTERVAL, Server};
use super::time::BEGIN_US;
use super::trap::{Does, Message, Trap};
use crate::data::Stores;
use crate::dice::Dice;
use crate::engine::Engine;
use crate::settings::Settings;

/// How far time goes at once: while messages are under way, and otherwise.
const BUSY_STEP: Duration = Duration::from_millis(2);
const IDLE_STEP: Duration = Duration::from_millis(25);

/// How long a scenario waits for what must come about.
const LIMIT: Duration = Duration::from_secs(600);

pub(super) const FUNCTION: &str = "flows";

/// A cluster.
#[derive(Debug)]
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) now: Duration,
    pub(super) server: Arc<Server>,
    pub(super) functions: Arc<Functions>,
    pub(super) hosts: Vec<Host>,
    /// Until when the server is away.
    server_away_until: Option<Duration>,
    /// Appends that the server lost.
    pub(super) lost: usize,
    /// How replicas are set, beside what a simulation needs.
    settings: Settings,
    born: usize,
    ground: Host,
}

impl World {
    pub(super) fn new(seed: u64, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::from_environment();
        settings.gateway_url = "http://127.0.0.1:9".to_owned();
        settings.keep_failed = Duration::ZERO;
        change(&mut settings);
        let options = state_options(&settings);
        let mut made = None;
        let ground = Host::new("ground", Duration::ZERO, |runtime, _| {
            let server = Server::new(runtime, &options, seed ^ 0x5e);
            made = Some((server, Functions::new(runtime, seed ^ 0xf0)));
            Part::Ground
        });
        let (server, functions) = made.expect("made above");
        Self {
            dice: Dice(seed),
            now: Duration::ZERO,
            server,
            functions,
            hosts: Vec::new(),
            server_away_until: None,
            lost: 0,
            settings,
            born: 0,
            ground,
        }
    }

    fn host(&mut self, kind: &str, part: impl FnOnce(&Self, &str, LinkOf) -> Part) -> Host {
        self.born += 1;
        let name = format!("{kind}-{}", self.born);
        let host = Host::new(&name, self.now, |_, link| part(self, &name, link));
        if self.server_away_until.is_some() {
            host.connect(false);
        }
        host
    }

    /// A replica that has just been started.
    pub(super) fn replica(&mut self) -> Host {
        self.replica_as(None)
    }

    /// The same, under an id that another has or had.
    pub(super) fn replica_as(&mut self, id: Option<ReplicaId>) -> Host {
        let host = self.host("replica", |world, name, link| {
            let state = world.server.state(name, link);
            let stores = Stores::in_memory(&world.settings);
            let engine = Engine::with(world.settings.clone(), state, stores);
            let mut engine = engine.expect("an engine");
            if let (Some(id), Some(shared)) = (id, Arc::get_mut(&mut engine.shared)) {
                shared.replica = id;
            }
            for flow in flows::all(&world.functions) {
                engine.register(flow).expect("a flow");
            }
            Part::Replica(engine)
        });
        if let Some(engine) = host.engine() {
            let shared = Arc::clone(&engine.shared);
            drop(host.spawn(shared.attend_soon()));
        }
        host
    }

    /// A keeper that has just been started, without an index.
    pub(super) fn keeper(&mut self) -> Host {
        let begun = Arc::new(OnceLock::new());
        let slot = Arc::clone(&begun);
        let mut kept = None;
        let host = self.host("keeper", |world, name, link| {
            let state = world.server.state(name, link);
            let replica = ReplicaId::from_uuid(Uuid::new_v4());
            let mut options = Options::new(replica, world.settings.tenant.clone());
            options.index = IndexPlace::Inline;
            options.heartbeat = world.settings.state.heartbeat;
            options.max_age = world.settings.state.max_age;
            options.sync_interval = SYNC_INTERVAL;
            options.clock = Clock::by_hand_at(BEGIN_US + world.now.as_micros() as u64);
            kept = Some((state, options));
            Part::Keeper(begun)
        });
        if let Some((state, options)) = kept {
            drop(host.spawn(async move {
                while slot.get().is_none() {
                    match Keeper::start(state.clone(), options.clone()).await {
                        Ok(keeper) => drop(slot.set(keeper)),
                        Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                    }
                }
            }));
        }
        host
    }

    /// Time passes.
    pub(super) fn step(&mut self) {
        let step = match self.server.is_busy() {
            true => BUSY_STEP,
            false => IDLE_STEP,
        };
        self.now += step;
        let now = self.now;
        let age = now.saturating_sub(self.settings.state.max_age);
        self.server.expire(BEGIN_US + age.as_micros() as u64);
        if self.server_away_until.is_some_and(|until| until <= now) {
            self.server_away_until = None;
        }
        for host in &mut self.hosts {
            if host.cut_until.is_some_and(|until| until <= now) {
                host.cut_until = None;
            }
            host.connect(self.server_away_until.is_none() && host.cut_until.is_none());
        }
        self.ground.run_until(now);
        // Nobody is always the first.
        let first = self.dice.roll(self.hosts.len().max(1));
        let (early, late) = self.hosts.split_at_mut(first);
        for host in late.iter_mut().chain(early) {
            host.run_until(now);
        }
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    /// Time passes until something is true.
    pub(super) fn until(&mut self, what: &str, is_true: impl Fn(&Self) -> bool) {
        let limit = self.now + LIMIT;
        while !is_true(self) {
            assert!(self.now < limit, "{what} did not come about");
            self.step();
        }
    }

    /// Catches the next message of a host that is like this.
    pub(super) fn trap(
        &self,
        host: usize,
        does: Does,
        matches: impl Fn(&Message<'_>) -> bool + Send + 'static,
    ) -> Trap {
        self.server.traps.set(&self.hosts[host].name, does, matches)
    }

    /// The server is killed, and comes back after a while.
    pub(super) fn crash_server(&mut self, away: Duration, loses: bool) {
        let now_us = BEGIN_US + self.now.as_micros() as u64;
        self.lost += self.server.crash(now_us, loses);
        self.is_away_for(away);
    }

    /// The same, and all that stands after this place is lost.
    pub(super) fn lose_after(&mut self, kept: Seq, away: Duration) {
        self.lost += self.server.crash_after(kept);
        self.is_away_for(away);
    }

    fn is_away_for(&mut self, away: Duration) {
        self.server_away_until = Some(self.now + away);
        self.hosts.iter().for_each(|host| host.connect(false));
    }

    /// The server and the functions are stopped for a while.
    pub(super) fn stall(&mut self, time: Duration) {
        self.ground.stopped_until = Some(self.now + time);
    }

    /// What stands in a request's log.
    pub(super) fn records(&self, request: RequestId) -> Vec<Record> {
        use turlough_statestore::Log as _;
        let read = self.server.log.read(request, Seq::START).now_or_never();
        read.expect("it is in memory").expect("it can be read")
    }

    pub(super) fn tenant(&self) -> String {
        self.settings.tenant.to_string()
    }

    /// Replicas that would hear whoever calls now.
    pub(super) fn replicas(&self) -> Vec<usize> {
        let there = |host: &&Host| host.engine().is_some() && host.is_there();
        let hosts = self.hosts.iter().enumerate();
        hosts
            .filter(|(_, host)| there(host))
            .map(|(at, _)| at)
            .collect()
    }

    /// What a keeper takes for open.
    pub(super) fn open(&mut self) -> Vec<(RequestId, turlough_keeper::Summary)> {
        let keeping = |host: &Host| Some((host.keeper()?.clone(), host.handle()?.clone()));
        let Some((keeper, runtime)) = self.hosts.iter().find_map(keeping) else {
            return Vec::new();
        };
        let filter = turlough_keeper::Filter {
            limit: 1_000,
            ..Default::default()
        };
        let listed = runtime.spawn(async move { keeper.list(&filter).await });
        self.run_for(Duration::from_secs(3));
        let listed = listed.now_or_never().and_then(Result::ok);
        let listed = listed.and_then(Result::ok).unwrap_or_default();
        let is_open = |summary: &turlough_keeper::Summary| {
            !summary.ended.as_ref().is_some_and(|ended| ended.settled)
        };
        listed.into_iter().filter(|(_, it)| is_open(it)).collect()
    }

    /// Hints that wait or are taken.
    pub(super) fn hints(&self) -> u64 {
        use turlough_statestore::Queue as _;
        let depth = self.server.queue.depth(FUNCTION).now_or_never();
        depth.expect("it is in memory").expect("it can be read")
    }
}

fn state_options(settings: &Settings) -> StateOptions {
    settings.state.options(&settings.tenant, &settings.function)
}
