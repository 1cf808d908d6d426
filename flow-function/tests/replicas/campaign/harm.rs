//! What is done to the platform, and when it was over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::flows::ONCE_TIMEOUT;
use super::logs::count_open;
use super::now_us;
use super::platform::{HEARTBEAT, Platform};
use super::processes::send;
use super::random::Random;

/// Who is harmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    Replica,
    Function,
    Keeper,
    Gateway,
    State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    Kill,
    Term,
    Stop,
}

/// A blow that is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Harm {
    pub(crate) whom: Whom,
    pub(crate) blow: Blow,
    /// Which one of several.
    which: usize,
    /// How long it lies, or is stopped.
    lasts: Duration,
}

/// A blow that was dealt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dealt {
    pub(crate) whom: Whom,
    pub(crate) blow: Blow,
    pub(crate) begin_us: u64,
    /// When everything was whole again.
    pub(crate) until_us: u64,
}

impl Harm {
    /// A replica is stopped for about as long as it takes until another one, which took over from it,
    /// gives up what it had called.
    pub(crate) fn draw_stop(random: &mut Random) -> Self {
        let unknown = HEARTBEAT + HEARTBEAT / 2 + ONCE_TIMEOUT;
        // It takes some seconds more until the heartbeat is missed, and somebody claims.
        let least = u64::try_from(unknown.as_millis()).unwrap() + 1_000;
        Self {
            whom: Whom::Replica,
            blow: Blow::Stop,
            which: usize::try_from(random.below(60)).unwrap(),
            lasts: Duration::from_millis(random.between(least, least + 4_000)),
        }
    }

    /// The next one; nothing is stopped for longer than `stop_max`.
    pub(crate) fn draw(random: &mut Random, stop_max: Duration) -> Self {
        let whom = match random.below(100) {
            0..45 => Whom::Replica,
            45..60 => Whom::Function,
            60..70 => Whom::Keeper,
            70..82 => Whom::Gateway,
            _ => Whom::State,
        };
        let blow = match random.below(100) {
            0..60 => Blow::Kill,
            60..70 if whom != Whom::State => Blow::Term,
            60..70 => Blow::Kill,
            _ => Blow::Stop,
        };
        let most = u64::try_from(stop_max.as_millis()).unwrap();
        let lasts_ms = match (blow, whom) {
            (Blow::Stop, Whom::Gateway | Whom::State) => random.between(500, 5_000.min(most)),
            (Blow::Stop, _) => random.between(1_000, most),
            _ => random.below(1_500),
        };
        Self {
            whom,
            blow,
            which: usize::try_from(random.below(60)).unwrap(),
            lasts: Duration::from_millis(lasts_ms),
        }
    }
}

/// Deals blows, and knows of each until when it was felt.
#[derive(Debug)]
pub(crate) struct Harms {
    platform: Arc<Platform>,
    /// What is still on its way: what lies is started again, what is stopped goes on.
    healing: JoinSet<usize>,
    dealt: Arc<Mutex<Vec<Dealt>>>,
    acted: Vec<bool>,
    open: watch::Receiver<usize>,
}

/// So many requests are open when a blow is dealt: not all of them end before it is felt.
const OPEN_MIN: usize = 4;

impl Harms {
    pub(crate) fn new(platform: &Arc<Platform>) -> Self {
        let (sender, open) = watch::channel(0);
        tokio::spawn(count_open(platform.state.clone(), sender));
        Self {
            open,
            platform: Arc::clone(platform),
            healing: JoinSet::new(),
            dealt: Arc::default(),
            acted: Vec::new(),
        }
    }

    /// Deals a blow. What it takes to get over it goes on beside what comes next.
    pub(crate) async fn deal(&mut self, harm: Harm) {
        let number = self.acted.len();
        let signal = match harm.blow {
            Blow::Kill => Signal::KILL,
            Blow::Term => Signal::TERM,
            Blow::Stop => Signal::STOP,
        };
        match harm.whom {
            Whom::Replica | Whom::Function => {
                let Some(id) = self.one_of(harm) else { return };
                self.begin(harm);
                send(id, signal);
                self.healing.spawn(async move {
                    if harm.blow == Blow::Stop {
                        tokio::time::sleep(harm.lasts).await;
                        send(id, Signal::CONT);
                    }
                    number
                });
            }
            Whom::Keeper | Whom::Gateway => {
                let role = match harm.whom {
                    Whom::Keeper => &self.platform.keepers[harm.which % 2],
                    _ => &self.platform.gateway,
                };
                let role = Arc::clone(role);
                let mut role = role.lock_owned().await;
                self.begin(harm);
                let id = role.id();
                send(id, signal);
                self.healing.spawn(async move {
                    tokio::time::sleep(harm.lasts).await;
                    match harm.blow {
                        Blow::Stop => send(id, Signal::CONT),
                        Blow::Kill | Blow::Term => role.start_again().await,
                    }
                    number
                });
            }
            Whom::State => {
                let mut server = Arc::clone(&self.platform.server).lock_owned().await;
                self.begin(harm);
                let id = server.id().unwrap();
                if harm.blow == Blow::Kill {
                    server.kill();
                } else {
                    send(id, signal);
                }
                self.healing.spawn(async move {
                    tokio::time::sleep(harm.lasts).await;
                    if harm.blow == Blow::Kill {
                        server.start_again().await;
                    } else {
                        send(id, Signal::CONT);
                    }
                    number
                });
            }
        }
    }

    /// Whether requests are open for a blow to be felt by, and its target got over the last one.
    pub(crate) fn can_deal(&self, harm: Harm) -> bool {
        let is_there = match harm.whom {
            Whom::Replica | Whom::Function => self.one_of(harm).is_some(),
            Whom::Keeper => self.platform.keepers[harm.which % 2].try_lock().is_ok(),
            Whom::Gateway => self.platform.gateway.try_lock().is_ok(),
            Whom::State => self.platform.server.try_lock().is_ok(),
        };
        is_there && *self.open.borrow() >= OPEN_MIN
    }

    /// Whether every blow is over.
    pub(crate) fn are_over(&self) -> bool {
        let dealt = self.dealt.lock().unwrap();
        dealt.iter().all(|dealt| dealt.until_us < u64::MAX)
    }

    fn begin(&mut self, harm: Harm) {
        self.acted.push(false);
        self.dealt.lock().unwrap().push(Dealt {
            whom: harm.whom,
            blow: harm.blow,
            begin_us: now_us(),
            until_us: u64::MAX,
        });
    }

    /// The process of a replica or a function, where the gateway has started one.
    fn one_of(&self, harm: Harm) -> Option<u32> {
        let function = match harm.whom {
            Whom::Replica => "flows",
            _ => "work",
        };
        let found = self.platform.processes(function);
        let which = harm.which.checked_rem(found.len())?;
        Some(found[which].id)
    }

    /// Looks whether everything is whole, and so which blows are over.
    pub(crate) async fn look(&mut self) {
        while let Some(healed) = self.healing.try_join_next() {
            self.acted[healed.unwrap()] = true;
        }
        let before_us = now_us();
        let is_whole = self.platform.is_whole().await;
        let mut dealt = self.dealt.lock().unwrap();
        for (dealt, acted) in dealt.iter_mut().zip(&self.acted) {
            if is_whole && *acted && dealt.until_us == u64::MAX {
                dealt.until_us = before_us.max(dealt.begin_us);
            }
        }
    }

    /// Waits until everything is whole, and tells what was dealt. None where something never was.
    pub(crate) async fn over(mut self) -> Option<Vec<Dealt>> {
        for _ in 0..1_200 {
            self.look().await;
            if self.healing.is_empty() && self.are_over() {
                return Some(self.dealt.lock().unwrap().clone());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }
}
