//! The control of the search for secrets: a run without the mask, in which the same search must find them.
//!
//! It weakens no product: builds that are given to anybody have no debug assertions, and in those no variable is looked
//! at. A run that was made so says it, on the screen and in its events.

/// The variable, which holds `1`.
const VARIABLE: &str = "PTB_TEST_NO_MASK";

/// What a run without the mask is told to be.
pub(crate) const ANNOUNCEMENT: &str = "PTB_TEST_NO_MASK=1: KEYS ARE NOT MASKED in this run; it is a trial of the search for them, made by a debug build, \
     and its directory is to be given to nobody";

/// Whether secrets are masked: always, but in such a trial.
pub(crate) fn masks() -> bool {
    !(cfg!(debug_assertions) && std::env::var_os(VARIABLE).is_some_and(|v| v == "1"))
}
