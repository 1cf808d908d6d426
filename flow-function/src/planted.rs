//! Faults that are planted to prove the kill campaign: with any of them it must fail. There are none
//! but with the feature `planted-faults`, and then the one that `TURLOUGH_PLANTED` names.

/// A fault that may be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Appends of every driver count, and none notices that a newer claim does.
    EpochUnchecked,
    /// Requests that ended are never settled.
    NeverSettled,
    /// An append that met another's counts as stored.
    ConflictIgnored,
}

/// Whether a fault is planted in this process.
#[cfg(feature = "planted-faults")]
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

/// Whether a fault is planted in this process: never without the feature.
#[cfg(not(feature = "planted-faults"))]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}
