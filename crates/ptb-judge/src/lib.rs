//! Floor 6: facts first, then verdicts, then consequences.
//!
//! [`archive`] keeps what the agent left (everything named and hashed in a manifest, weights left out);
//! [`gather`] turns a submission into evidence; [`decide`] is the policy over evidence. Each step's
//! output is a file of the run directory, so each can be repeated or done by another program.
//!
//! This crate must never run anything that an agent produced, follow a link out of the workspace, or let a
//! harness failure become a mark.

mod archive;
mod declared;
mod facts;
mod identity;
mod items;
mod policy;
mod text;

pub use archive::{ArchiveError, Item, ItemKind, Manifest, archive};
pub use facts::{Submitted, architecture_faults, gather};
pub use items::{Benchmarked, index_of};
pub use policy::decide;
