//! Deliberate bugs, one of which a build with the feature `planted-bugs` can switch on, to prove that the
//! fault suites see it. Every other build has none of them.
//!
//! | `TRUNKLINE_PLANT` | the bug |
//! |---|---|
//! | `ack_before_fsync` | a publish is answered before its commit is synced |
//! | `no_dedupe` | an id that is known is stored again |
//! | `session_lock_off` | several events of a session are in flight |
//! | `redelivered_flag_off` | a repeat does not say that it is one |
//! | `epoch_check_off` | a settlement of an older delivery counts |

/// Says whether the bug `name` is switched on.
#[cfg(feature = "planted-bugs")]
pub(crate) fn planted(name: &str) -> bool {
    static PLANT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    PLANT
        .get_or_init(|| std::env::var("TRUNKLINE_PLANT").ok())
        .as_deref()
        == Some(name)
}

/// Says no: nothing is planted in this build.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub(crate) const fn planted(_name: &str) -> bool {
    false
}
