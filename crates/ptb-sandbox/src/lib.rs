//! The wall: what stands between an agent and the machine it runs on.
//!
//! This room starts a command so that it sees only what a [`WallSpec`] names, and ends it, with
//! everything it ever started, when its time is over or when the harness goes away. It also keeps
//! the [`Clock`] of a budget, and measures what the command uses ([`telemetry`]). It knows nothing of agents, models or benchmarks.
//!
//! How the embedded wall works: the harness re-executes itself as a single-threaded helper
//! ([`enter_if_helper`], the first call of `main`). The helper supervises from outside: it keeps the
//! deadline and holds the life-line to the harness. Its child becomes PID 1 of fresh namespaces,
//! builds a root directory out of an allowlist, and starts the command with no capability, a seccomp
//! filter and limits. When PID 1 ends, the kernel ends the rest.
//!
//! What it must never do:
//! - show the inside anything that is not on the allowlist ([`exposes`] tells what is);
//! - let a process of the inside outlive the run;
//! - fall back to weaker isolation by itself: [`NoWall`] is used only when asked for by name;
//! - act on a process that it did not start.
//!
//! What it does not hide: kernel version, CPU and memory facts in `/proc`, and in
//! `/proc/self/mountinfo` the paths (never the contents) that the declared binds have outside.

mod clock;
mod error;
mod give;
mod helper;
mod layout;
mod namespaces;
mod none;
mod probe;
mod report;
mod running;
mod spec;
mod sys;
pub mod telemetry;
mod wall;
mod weaken;
mod wire;

pub use clock::{
    BootClock, Clock, ClockError, TimeSource, budget_from_hours, format_hours_minutes,
};
pub use error::{Result, WallError};
pub use give::give_to_agent;
pub use helper::enter_if_helper;
pub use layout::{
    AGENT_HOME, AGENT_UID, AGENT_USER, DOOR_DIR, DOOR_SOCKET, PROGRAMS_DIR, TASK_DIR, exposes,
};
pub use namespaces::Namespaces;
pub use none::NoWall;
pub use report::{Guarantee, Report};
pub use running::{Canceller, EndReason, Ended, Running};
pub use spec::{Access, Bind, Identity, Limits, Sizes, Stdin, WallSpec};
pub use wall::{Inside, Wall, wall_by_name};
#[doc(hidden)]
pub use weaken::Weakness;
