//! Which test items are in which documents.
//!
//! A document goes through two looks. The first (`look`) reads its bytes once, word by word (`token`, `fold`), and asks
//! of each pair of neighbouring words that say something whether test items have it (`table`, `index`). Stop words
//! and words that no item has are passed over, so edits and words put between do not hide a pair. Where enough pairs of
//! one passage lie close together, the second look (`compare`) measures how much of the passage is there, and
//! `decide` says whether that is chance. Programs are compared in a view of their own (`code`, `lexer`), and texts in
//! base64 are read like others (`hidden`). `source` finds the documents, `scan` brings them to the threads.

mod code;
mod compare;
mod decide;
mod document;
mod fold;
mod hidden;
mod index;
mod lexer;
mod look;
mod scan;
mod source;
mod stop;
mod table;
mod token;
mod unescape;

pub use decide::Kind;
pub use index::{Index, Item};
pub use scan::{Finding, FoundItem, Scanned, Unread};
pub use source::Limits;
