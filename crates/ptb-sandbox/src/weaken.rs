//! Protections that the wall's own tests take away, one by one.
//!
//! A test of an attack proves something only if the same attack succeeds without the protection it
//! aims at. These switches exist for that; they cannot come from a file, because the field that
//! holds them is never deserialised from one.

use serde::{Deserialize, Serialize};

/// One protection to leave out. For tests of the wall alone.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Weakness {
    /// Descriptors of the harness stay open.
    KeepFds,
    /// The helper keeps the harness's environment.
    KeepEnv,
    /// No network namespace.
    ShareNet,
    /// No PID namespace.
    SharePid,
    /// No IPC namespace.
    ShareIpc,
    /// No UTS namespace.
    ShareUts,
    /// No user namespace (works for root alone).
    ShareUser,
    /// The host's root, as it is.
    HostRoot,
    /// No seccomp filter.
    NoSeccomp,
    /// Capabilities inside the user namespace are kept.
    KeepCaps,
    /// `no_new_privs` is not set.
    AllowNewPrivs,
    /// Binds may hold set-user-id programs.
    SuidBinds,
    /// Binds and private file systems may hold device nodes.
    DevNodes,
    /// Read-only binds are writable.
    WritableBinds,
    /// Read-only is not applied to mounts below a bind's source.
    ShallowReadOnly,
    /// The root directory and `/dev` of the inside stay writable.
    WritableRoot,
    /// No limit on the number of processes.
    NoProcessLimit,
    /// No limit on file sizes.
    NoFileLimit,
    /// Private file systems have no size of their own.
    NoTmpSize,
    /// PID 1 may be traced and looked into.
    InitDumpable,
    /// Places of `/proc` are not masked.
    NoMask,
    /// Nested user namespaces are not forbidden by the count.
    AllowUserns,
    /// The helper ignores the harness's death.
    NoLifeline,
    /// PID 1 ignores the helper's death.
    NoDeathSignal,
    /// The command stays in the helper's session, with its terminal.
    KeepSession,
}
