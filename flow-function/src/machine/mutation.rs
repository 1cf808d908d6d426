//! Planted bugs: a test asks for one, and the random schedules must find it. Outside of tests there
//! are none.

/// A bug that may be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "planted by tests alone"))]
pub(super) enum Mutation {
    JoinCountsEnds,
    ClaimUnchecked,
    EpochUnchecked,
    AttemptUnchecked,
    SkipStops,
    OrderGivesData,
    FirstCaseAlone,
    ItemForgotten,
    EmptyEachFails,
    ResultsReversed,
    ParallelOneMore,
    LoopOneMore,
    UndoForward,
    UndoKnownFailed,
    UnknownNotUndone,
    UndoneTwice,
    UnknownRetried,
    OnceAgain,
    NothingAwaited,
    PauseStarts,
    ResumeTwice,
    TimerTwice,
    SignalTwice,
    FallbackTwice,
    FinallyTwice,
    DivergedKept,
    NumberTwice,
    DescendantsKept,
    RemadeForEver,
    OnceRemade,
    OnFailureAfterCancel,
    StopForgotten,
    RetryOneMore,
    StrayForgotten,
    SnapshotWithoutPlace,
    SnapshotWithoutLast,
    DeadlineIgnored,
    PathsShared,
}

#[cfg(test)]
thread_local! {
    /// The bug that is planted in this thread.
    pub(super) static PLANTED: std::cell::Cell<Option<Mutation>> =
        const { std::cell::Cell::new(None) };
}

/// Whether a bug is planted.
#[cfg(test)]
pub(super) fn planted(mutation: Mutation) -> bool {
    PLANTED.with(|planted| planted.get() == Some(mutation))
}

/// Whether a bug is planted: never outside of tests.
#[cfg(not(test))]
pub(super) const fn planted(_: Mutation) -> bool {
    false
}

impl Mutation {
    /// All that may be planted.
    #[cfg(test)]
    pub(super) const ALL: &[Self] = &[
        Self::JoinCountsEnds,
        Self::ClaimUnchecked,
        Self::EpochUnchecked,
        Self::AttemptUnchecked,
        Self::SkipStops,
        Self::OrderGivesData,
        Self::FirstCaseAlone,
        Self::ItemForgotten,
        Self::EmptyEachFails,
        Self::ResultsReversed,
        Self::ParallelOneMore,
        Self::LoopOneMore,
        Self::UndoForward,
        Self::UndoKnownFailed,
        Self::UnknownNotUndone,
        Self::UndoneTwice,
        Self::UnknownRetried,
        Self::OnceAgain,
        Self::NothingAwaited,
        Self::PauseStarts,
        Self::ResumeTwice,
        Self::TimerTwice,
        Self::SignalTwice,
        Self::FallbackTwice,
        Self::FinallyTwice,
        Self::DivergedKept,
        Self::NumberTwice,
        Self::DescendantsKept,
        Self::RemadeForEver,
        Self::OnceRemade,
        Self::OnFailureAfterCancel,
        Self::StopForgotten,
        Self::RetryOneMore,
        Self::StrayForgotten,
        Self::SnapshotWithoutPlace,
        Self::SnapshotWithoutLast,
        Self::DeadlineIgnored,
        Self::PathsShared,
    ];
}
