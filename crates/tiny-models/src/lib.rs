//! How the quick start's two tiny models came about: the text that `tiny-base` was pretrained on, the chats that
//! `tiny-instruct` was trained further on, and the program that trains both (`cargo run --release -p tiny-models`).
//!
//! Everything here is drawn from fixed seeds. The rule that holds test operands out of the arithmetic benchmark
//! is kept by every calculation and comparison that is written; a test reads all of the text back to prove it.
//!
//! This room must never be linked by a program that people install.

mod chats;
mod draw;
mod plain;

pub use chats::{Chat, chats};
pub use plain::plain_lines;

/// Seed of the pretraining text.
pub const PRETRAINING_SEED: u64 = 1;
/// Lines of it that `tiny-base` was trained on.
pub const PRETRAINING_LINES: usize = 400_000;
/// Seed of the chats.
pub const CHATS_SEED: u64 = 2;
/// Chats that `tiny-instruct` was trained on.
pub const CHATS: usize = 20_000;
