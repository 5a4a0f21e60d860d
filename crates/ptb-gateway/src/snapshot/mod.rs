//! Models as they were at one moment.
//!
//! The agent names a directory of its workspace and goes on working in it, perhaps with bad intent. So
//! the directory is opened by handle and nothing is followed out of it; only files that make a
//! model are taken; they are copied (blocks shared where the file system can, never hard links, which
//! would let the agent write into our copy), hashed, and looked at again: what changed meanwhile is
//! taken anew. A copy gets its name only when it is whole and on the disk.
//!
//! [`take`] makes one such copy. [`Snapshots`] keeps the best and the last of a run.

#[cfg(test)]
mod attacks;
mod error;
mod names;
mod open;
mod store;
mod take;

pub use error::{CheckFault, SnapshotError};
pub(crate) use names::printable;
pub use store::{Kept, SnapshotIndex, SnapshotRecord, Snapshots};
pub use take::{Check, Order, SnapshotFile, SnapshotLimits, Source, Taken, take};
