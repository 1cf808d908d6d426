//! What a process took that has ended, read before it is reaped.

use std::mem::MaybeUninit;
use std::time::Duration;

/// What a process and the children that it waited for took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) cpu: Duration,
    /// The most that one of them held at once. The kernel counts what a process held before it became
    /// another program: that of a fork is as large as what it was forked from.
    pub(crate) peak_bytes: u64,
}

/// What a child took that has ended and is not reaped yet, and is not by this; `None` of any other.
pub(crate) fn taken_by(pid: u32) -> Option<Ended> {
    let mut found = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let options = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
    #[allow(
        unsafe_code,
        reason = "the kernel's own waitid tells what a process took, and no library's does"
    )]
    // SAFETY: the call writes to the two places that it is given, which live until it returns, and reads
    // nothing else. Both were filled with zeros, which are values of their types; `si_pid` is what
    // the kernel sets for a child that was found, and zero otherwise.
    let usage = unsafe {
        let done = libc::syscall(
            libc::SYS_waitid,
            libc::P_PID,
            libc::id_t::from(pid),
            found.as_mut_ptr(),
            options,
            usage.as_mut_ptr(),
        );
        if done != 0 || found.assume_init().si_pid() == 0 {
            return None;
        }
        usage.assume_init()
    };
    let kib = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    Some(Ended {
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        peak_bytes: kib << 10,
    })
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_a_process_and_its_children_took_is_told_until_it_is_reaped() {
        let works = "x=0; while [ $x -lt 100000 ]; do x=$((x+1)); done";
        let script = format!("sh -c '{works}'; read line; exit 3");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(taken_by(child.id()), None);
        drop(child.stdin.take());
        let begun = std::time::Instant::now();
        let taken = loop {
            match taken_by(child.id()) {
                Some(taken) => break taken,
                None => assert!(begun.elapsed().as_secs() < 60),
            }
        };
        // That of its child, which did the work.
        assert!(taken.cpu > Duration::from_millis(5), "{taken:?}");
        assert!(taken.peak_bytes > 100_000, "{taken:?}");
        // It is told again, with the last of its end.
        assert!(taken_by(child.id()).is_some_and(|again| again.cpu >= taken.cpu));
        assert_eq!(child.wait().unwrap().code(), Some(3));
        assert_eq!(taken_by(child.id()), None);
    }
}
