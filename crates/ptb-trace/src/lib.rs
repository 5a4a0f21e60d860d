//! What an agent did, in one common form, whatever its scaffold printed.
//!
//! Lines of a scaffold's output come in; a trajectory (ATIF 1.8), a transcript for people and a [`Summary`] for whoever
//! goes on with the run come out. [`convert`] reads a whole trace, [`Follower`] one that is still growing. The API
//! record ([`ApiRecord`]) fills in what the output lacks.
//!
//! ```
//! use ptb_trace::{About, Ended, Format, convert};
//!
//! let printed = br#"{"type":"thread.started","thread_id":"t1"}
//! {"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"Trained."}}
//! {"type":"turn.completed","usage":{"input_tokens":10,"cached_input_tokens":0,"output_tokens":2}}"#;
//! let about = About { name: "codex".into(), version: "0.169.0".into(), ..About::default() };
//! let (mut trajectory, mut transcript) = (Vec::new(), Vec::new());
//! let summary = convert(&printed[..], Format::Codex, None, &about, &mut trajectory, &mut transcript)?;
//! assert_eq!((summary.steps, summary.usage.output, summary.ended), (1, 2, Ended::Finished));
//! assert_eq!(summary.session_id.as_deref(), Some("t1"));
//! # Ok::<(), ptb_trace::TraceError>(())
//! ```
//!
//! The output is an agent's: hostile. This room must never panic on it, never hold more of it than its longest line
//! and some megabytes, never lose a line without counting it, and never let a text leave the place it was given in the
//! transcript. It must never start anything, ask anybody, or judge: it tells what was printed.

mod about;
mod api;
mod atif;
mod compose;
mod error;
mod event;
mod format;
mod lines;
mod parse;
mod render;
mod step;
mod summary;
mod text;
mod tracer;
mod usage;

pub use about::{About, Budget, Form};
pub use api::{
    ApiLimits, ApiRecord, ApiSummary, Body, Conversation, Exchange, RecordState, Request, Response,
};
pub use error::TraceError;
pub use format::Format;
pub use render::Look;
pub use summary::{ApiTrouble, Ended, Lines, Summary, TroubleKind};
pub use tracer::{Follower, convert};
pub use usage::Usage;
