//! One process, as the kernel tells of it.

use std::fs;
use std::mem::MaybeUninit;
use std::time::Duration;

/// A line of `/proc/PID/stat`, as far as it is needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// When it began, in ticks; tells it from a later one of the same number.
    pub(super) began: u64,
    own_ticks: u64,
    /// Of its children that ended and were waited for, and theirs.
    reaped_ticks: u64,
    resident_pages: u64,
}

impl Process {
    /// `None` where there is none.
    pub(super) fn read(pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: i32, line: &str) -> Option<Self> {
        // The program's name, in brackets, may hold anything.
        let (_, after_name) = line.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            own_ticks: number(11)? + number(12)?,
            reaped_ticks: number(13)? + number(14)?,
            began: number(19)?,
            resident_pages: number(21)?,
        })
    }

    /// Its own time, and that of the children that it waited for.
    pub(super) fn cpu(&self) -> Duration {
        let own = clock(self.pid).unwrap_or_else(|| ticks(self.own_ticks));
        own + ticks(self.reaped_ticks)
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        self.resident_pages * rustix::param::page_size() as u64
    }

    /// The most that it held at once; `None` once it has ended.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    }

    /// From now on its peak is counted anew. False where the kernel does not let.
    pub(super) fn forget_peak(&self) -> bool {
        /// `CLEAR_REFS_MM_HIWATER_RSS`.
        const PEAK: &str = "5";
        fs::write(format!("/proc/{}/clear_refs", self.pid), PEAK).is_ok()
    }
}

/// What this process holds now.
pub(crate) fn resident_bytes_of_this() -> u64 {
    let read = || {
        let text = fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    };
    read().unwrap_or(u64::MAX)
}

fn ticks(count: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_secs(count) / u32::try_from(per_second).unwrap_or(100)
}

/// A process's own time, to the nanosecond; ticks are a hundredth of a second.
fn clock(pid: i32) -> Option<Duration> {
    let mut clock = 0;
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    #[allow(
        unsafe_code,
        reason = "the clock of another process has no safe function"
    )]
    // SAFETY: both calls write to the places that they are given, which live until they return, and read
    // nothing else. `time` is read only where the second one says that it wrote it.
    let time = unsafe {
        if libc::clock_getcpuclockid(pid, &raw mut clock) != 0
            || libc::clock_gettime(clock, time.as_mut_ptr()) != 0
        {
            return None;
        }
        time.assume_init()
    };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    Some(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_read_after_a_name_that_looks_like_its_end() {
        let line =
            "42 (a) S 9 (b)) R 7 6 5 0 -1 4194304 99 0 0 0 3 4 50 60 20 0 1 0 1234 8192 11 0";
        let found = Process::parse(42, line).unwrap();
        let expected = Process {
            pid: 42,
            parent: 7,
            group: 6,
            began: 1234,
            own_ticks: 7,
            reaped_ticks: 110,
            resident_pages: 11,
        };
        assert_eq!(found, expected);
        assert_eq!(Process::parse(42, "42 (a) R 7"), None);
    }

    #[test]
    fn time_of_this_process_is_told_and_does_not_fall() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let this = || Process::read(pid).unwrap();
        let before = this().cpu();
        assert!(clock(pid).is_some());
        let mut sum = 0_u64;
        while this().cpu() < before + Duration::from_millis(20) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(this().peak_bytes().unwrap() >= this().resident_bytes() / 2);
        assert!(resident_bytes_of_this() > 0);
    }
}
