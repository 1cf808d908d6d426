//! Planted faults of the protocol: a test asks for one, and the simulated clusters must find it. With
//! the feature `planted-faults` a process takes the one that `TURLOUGH_PLANTED` names, and the campaign
//! of kills must find it. Otherwise there are none.

/// A fault that may be planted: a rule that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "planted by tests alone"))]
pub(crate) enum Fault {
    /// Appends of every driver count, and none notices that a newer claim does.
    EpochUnchecked,
    /// An append that another came before counts as stored.
    ConflictIgnored,
    /// After a lost connection the log is taken for what it was.
    CutOffIgnored,
    /// A log is claimed whoever holds it.
    HolderUnchecked,
    /// A claimant without a heartbeat is taken for alive.
    DeadTakenForAlive,
    /// A heartbeat that is missing is a death, however the state answers.
    SilenceTakenForDeath,
    /// A replica that is poked about a request that it forgot does nothing.
    ForgottenStaysForgotten,
    /// What the keeper found of a claimant is not heard.
    VerdictIgnored,
    /// What has ended is not settled.
    NeverSettled,
    /// The end is settled though the log lost it.
    SettledAnyway,
    /// That a log says that it ended is not seen.
    EndUnseen,
    /// A call that must not be repeated is, where the log lost what it came to.
    OnceAgain,
    /// What such a call came to is forgotten once it was appended.
    AnswerForgotten,
    /// Such a call is made before its start is on the disk.
    OnceBeforeSync,
    /// An end is appended whose start the log lost.
    EndWithoutStart,
    /// A sub-flow that the state did not take at once fails its step.
    ChildGivenUp,
    /// No snapshot is written.
    NoSnapshot,
    /// Steps start ahead of the append that releases them.
    AllSpeculated,
}

#[cfg(test)]
thread_local! {
    /// The fault that is planted in this thread.
    pub(crate) static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Whether a fault is planted.
#[cfg(test)]
pub(crate) fn planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Whether a fault is planted in this process.
#[cfg(all(not(test), feature = "planted-faults"))]
pub(crate) fn planted(fault: Fault) -> bool {
    static PLANTED: std::sync::OnceLock<Option<Fault>> = std::sync::OnceLock::new();
    let planted = PLANTED.get_or_init(|| match std::env::var("TURLOUGH_PLANTED").as_deref() {
        Ok("epoch") => Some(Fault::EpochUnchecked),
        Ok("settling") => Some(Fault::NeverSettled),
        Ok("conflict") => Some(Fault::ConflictIgnored),
        _ => None,
    });
    *planted == Some(fault)
}

/// Whether a fault is planted: never outside of tests.
#[cfg(all(not(test), not(feature = "planted-faults")))]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}

impl Fault {
    /// All that may be planted.
    #[cfg(test)]
    pub(crate) const ALL: &[Self] = &[
        Self::EpochUnchecked,
        Self::ConflictIgnored,
        Self::CutOffIgnored,
        Self::HolderUnchecked,
        Self::DeadTakenForAlive,
        Self::SilenceTakenForDeath,
        Self::ForgottenStaysForgotten,
        Self::VerdictIgnored,
        Self::NeverSettled,
        Self::SettledAnyway,
        Self::EndUnseen,
        Self::OnceAgain,
        Self::AnswerForgotten,
        Self::OnceBeforeSync,
        Self::EndWithoutStart,
        Self::ChildGivenUp,
        Self::NoSnapshot,
        Self::AllSpeculated,
    ];
}
