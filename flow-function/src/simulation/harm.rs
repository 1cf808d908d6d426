//! What is done to a cluster.

use std::time::Duration;

use super::world::World;
use crate::dice::Dice;

/// One thing that is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Harm {
    /// A host dies, and another takes its place after a while.
    Kill {
        host: usize,
        back: Duration,
    },
    /// A replica is asked to end, and is gone a while later.
    Leave {
        host: usize,
        back: Duration,
    },
    Stop {
        host: usize,
        time: Duration,
    },
    Cut {
        host: usize,
        time: Duration,
    },
    Jump {
        host: usize,
        by_us: i64,
    },
    Crash {
        away: Duration,
        loses: bool,
    },
    /// The server and the functions stand still, and no connection is lost.
    Stall {
        time: Duration,
    },
}

/// What is done, after what pause, and what becomes of messages from then on: late, and lost, of a
/// hundred.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blow {
    pub(super) pause: Duration,
    pub(super) harm: Harm,
    pub(super) weather: Option<(usize, usize)>,
}

impl Blow {
    /// Draws what is done next to so many hosts.
    pub(super) fn draw(dice: &mut Dice, hosts: usize, loses: bool) -> Self {
        let pause = Duration::from_millis(dice.roll(8_000) as u64);
        let weather = dice.chance(30).then(|| (dice.roll(8), dice.roll(6)));
        let harm = Harm::draw(dice, hosts, loses);
        Self {
            pause,
            harm,
            weather,
        }
    }
}

impl Harm {
    fn draw(dice: &mut Dice, hosts: usize, loses: bool) -> Self {
        let host = dice.roll(hosts);
        let back = Duration::from_millis(dice.roll(15_000) as u64);
        let longs = [300, 3_000, 8_000, 15_000, 40_000, 80_000];
        let time = Duration::from_millis(longs[dice.roll(longs.len())] + dice.roll(500) as u64);
        match dice.roll(13) {
            0..4 => Self::Kill { host, back },
            4 => Self::Leave { host, back },
            5..8 => Self::Stop { host, time },
            8 => Self::Cut { host, time },
            9 => Self::Jump {
                host,
                by_us: dice.roll(6_000_000) as i64 - 3_000_000,
            },
            10 => Self::Stall { time },
            _ => Self::Crash { away: back, loses },
        }
    }
}

impl World {
    pub(super) fn harm(&mut self, harm: Harm, returns: &mut Vec<(Duration, usize)>) {
        match harm {
            Harm::Kill { host, back } => {
                self.hosts[host].kill();
                returns.push((self.now + back, host));
            }
            Harm::Leave { host, back } => {
                if let Some(engine) = self.hosts[host].engine().cloned() {
                    drop(self.hosts[host].spawn(async move {
                        engine.drain(Duration::from_secs(5)).await;
                        engine.shared.closing.cancel();
                        engine.shared.leave_the_table().await;
                    }));
                }
                returns.push((self.now + Duration::from_secs(8) + back, host));
            }
            Harm::Stop { host, time } => self.hosts[host].stopped_until = Some(self.now + time),
            Harm::Cut { host, time } => self.hosts[host].cut_until = Some(self.now + time),
            Harm::Jump { host, by_us } => self.hosts[host].jump(by_us),
            Harm::Stall { time } => self.stall(time),
            Harm::Crash { away, loses } => self.crash_server(away, loses),
        }
    }

    /// Hosts whose time has come are started anew.
    pub(super) fn revive(&mut self, returns: &mut Vec<(Duration, usize)>) {
        let now = self.now;
        let due: Vec<_> = returns.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, host) in due {
            let fresh = match self.hosts[host].engine() {
                Some(_) => self.replica(),
                None => self.keeper(),
            };
            self.hosts[host] = fresh;
        }
    }
}
