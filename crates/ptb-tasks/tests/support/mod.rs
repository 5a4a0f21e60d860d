//! Where the reference files are.

#![allow(dead_code, reason = "no test uses all of it")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics, and says why it skips"
)]

use std::path::PathBuf;

use serde_json::Value;

/// A path below `PTB_SHARED`; none (with a printed reason) where that is not set, which `PTB_REQUIRE_ALL=1` forbids.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("PTB_SHARED").filter(|v| !v.is_empty()) else {
        let required = std::env::var("PTB_REQUIRE_ALL").is_ok_and(|v| v == "1");
        assert!(
            !required,
            "PTB_REQUIRE_ALL=1, but PTB_SHARED does not name the folder of reference files"
        );
        println!("skipped: PTB_SHARED does not name the folder of reference files");
        return None;
    };
    Some(PathBuf::from(root).join(path))
}

/// The rows of a reference file.
pub(crate) fn rows(path: &str) -> Option<Vec<Value>> {
    let text = std::fs::read_to_string(shared(path)?).unwrap();
    Some(text.lines().map(|l| serde_json::from_str(l).unwrap()).collect())
}
