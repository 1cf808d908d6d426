//! Planted faults of the protocol: a test asks for one, and the interleaving that it is for must fail, or
//! some simulated cluster. With the feature `planted-faults` a process takes the one that
//! `TURLOUGH_PLANTED` names, and the campaign of kills must find it. Otherwise there are none.

/// A fault that may be planted: a rule that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "planted by tests alone"))]
pub(crate) enum Fault {
    /// Appends of every driver count, and none notices that a newer claim does.
    EpochUnchecked,
    /// An append that another came before counts as stored.
    ConflictIgnored,
    /// What has ended is not settled.
    NeverSettled,
    /// The end is settled though the log lost it.
    SettledAnyway,
    /// That a log says that it ended is not seen.
    EndUnseen,
    /// What such a call came to is forgotten once it was appended.
    AnswerForgotten,
    /// An end is appended whose start the log lost.
    EndWithoutStart,
    /// A sub-flow that the state did not take at once fails its step.
    ChildGivenUp,
    /// A parent whose log may have lost it is not told once more how its sub-flow ended.
    LostWordTold,
    /// No snapshot is written.
    NoSnapshot,
    /// An append that another came before is sent again after that, as it is.
    SentAgain,
    /// A snapshot does not hold the epoch of the newest claim.
    EpochNotSaved,
    /// Parts in a log's head are not written again before a snapshot.
    PartsLeft,
    /// A request is accepted into a log in which another stands.
    AcceptedTwice,
    /// A large input stays in the memory of whoever accepts it.
    InputInStore,
    /// The start of a step that can be undone, or that somebody else completes, is not recorded.
    StartUnrecorded,
    /// Every step starts beside the append that releases it.
    SinksSpeculated,
    /// Ends are appended that the machine does not wait for.
    EndsUnasked,
    /// A start whose acceptance is not recorded is not called again after a take-over.
    NotCalledAgain,
    /// What must not be repeated is called again after a take-over.
    OnceAgain,
    /// Whoever holds the answer to such a call keeps it to itself once its claim is over.
    AnswerDropped,
    /// That a call was too late to be made counts as its answer where the log loses the later one.
    LateKnown,
    /// A request is closed though its log may have lost that its parent was told.
    ClosedUntold,
    /// A call is made however long ago its start was recorded.
    CallsLate,
    /// A call is made within half a heartbeat, however long that is.
    CallsWithinAnyHeartbeat,
    /// An outcome is unknown as soon as somebody else takes over.
    UnknownSoon,
    /// An outcome becomes unknown by a wall clock that jumps.
    WallTrusted,
    /// Nothing is awaited before a request ends.
    NothingAwaited,
    /// Somebody else completes an attempt whose start is not recorded.
    UnstartedEnds,
    /// An append that is found after a lost connection counts.
    FoundIsStored,
    /// A settled request is claimed.
    SettledClaimed,
    /// What the log lost after it was closed is made into data that was dropped.
    DataStaysClosed,
    /// Who appended from outside wakes nobody.
    NobodyWoken,
    /// An append from outside that meets a conflict is sent again as it is.
    StaleFold,
    /// An end owes no word to anybody.
    NothingOwed,
    /// Word that its receiver refuses is sent again.
    RefusalRetried,
    /// A failed request is not kept.
    NotKept,
    /// What is closed takes a restart.
    ClosedRestarted,
    /// Data stays where another took its request on.
    DataLeft,
    /// A request that took replicas down is driven beside others.
    NeverAlone,
    /// One that is to be driven alone waits until another is no more.
    AloneAwaited,
    /// A request that takes replicas down is driven again and again.
    NeverDead,
    /// The answer to such a call is recorded at once or not at all.
    ReportedOnce,
    /// A state that is away uses up the tries of word to a parent.
    StateUsesTries,
    /// A sub-flow that nobody waits for runs on where the state did not answer at once.
    UnawaitedRunsOn,
    /// Word is delivered again though whoever delivered it died each time.
    DeliveredForEver,
    /// An append that was stored unheard is taken for another's.
    OwnUnseen,
    /// Who asks for a request that is being recorded is told that it was lost.
    FirstNotAwaited,
    /// After a lost connection the log is not read before what comes next.
    NotReadAnew,
    /// A claim that this replica holds without driving counts as one of somebody alive.
    OwnClaimHeld,
    /// What the keeper found out about a claimant does not count.
    VerdictIgnored,
    /// It counts for the claims that come after it, too.
    VerdictForEver,
    /// A heartbeat that is missing is a death, however long one was cut off oneself.
    DeadUnseen,
    /// A replica claims before its heartbeat is written.
    ClaimsUnheard,
    /// Who was cut off is heard of again when its next heartbeat is due.
    BeatLate,
    /// A hint for what somebody else holds comes to nothing.
    HeldUnpoked,
    /// Parts that were stored once count as stored.
    PartsForgotten,
    /// A fold that was kept is asked though the log may have lost what it is of.
    FoldKept,
    /// All values in parts have one name.
    OneUpload,
    /// A key of the store does not name its writer.
    KeyWithoutNonce,
    /// A result that does not fit its event is not kept.
    ResultNotKept,
    /// Word that is owed is left to whoever brought the end about.
    WordOfAnother,
    /// Data is dropped before a restart is excluded.
    DroppedEarly,
    /// An end counts for every attempt of its step.
    EndOfAnyAttempt,
    /// A step that is made again keeps the number of its attempt.
    NumberKept,
    /// A value that is lost counts as a failure of who needs it.
    LostIsFailure,
    /// An output that is lost fails the request.
    OutputNotMadeAgain,
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
    /// Those that few simulated clusters find.
    #[cfg(test)]
    pub(crate) const SOON: &[Self] = &[Self::NeverSettled, Self::ChildGivenUp, Self::NoSnapshot];
}
