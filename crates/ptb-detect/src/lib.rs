//! Plain tools that find what should not be there: a benchmark's test items in files, and another model in a model.
//!
//! [`Index`] holds the items of a benchmark, handed in as plain texts, and looks for them in files of whatever kind
//! ([`Index::scan`]). It says which items, where and in what way; how many may be there by accident is for others to
//! decide.
//!
//! [`lineage`] tells whether a model was trained from its base or made from another, by its weights alone.
//!
//! This crate must never: know a benchmark, a run or a rule by name; follow a link, open a pipe or run anything found;
//! take a file's word for its size; or call something clean that it could not read.

mod contamination;
mod lineage;

pub use contamination::{Finding, FoundItem, Index, Item, Kind, Limits, Scanned, Unread};
pub use lineage::{
    Decision, Fingerprint, Lineage, Measured, TensorFingerprint, TensorLineage, fingerprint,
    lineage,
};
