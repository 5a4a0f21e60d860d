//! Supervised fine-tuning inside the wall.
//!
//! A base model and a file of examples go in, the best model comes out, in Hugging Face layout and in one piece at
//! every instant. [`Data`] reads examples, [`train`] does the rest: batches packed by length, a gradient computed
//! in shards on all cores, AdamW, checkpoints, looks at the model through the run's door, an end before the
//! deadline. The same seed gives the same bytes, whatever the number of threads, interrupted or not.
//!
//! [`arithmetic`] makes training data for one benchmark from its task description alone; with `ptb-sft solve` that is
//! the agent `sft`.
//!
//! This room goes inside the wall with the agent. It must never: know a benchmark's data, the registry or an
//! answer, link another crate of the house than `ptb-model`, leave half a model in its place, or panic on what a
//! file says.

mod adamw;
pub mod arithmetic;
mod batch;
mod clock;
mod data;
mod door;
mod draw;
mod error;
mod events;
mod files;
mod gradient;
mod place;
mod save;
mod schedule;
mod settings;
mod state;
mod stop;
mod text;
mod train;
mod weights;

pub use data::{Data, Encoder, Example, Message, Record, Role};
pub use door::Door;
pub use error::{Kind, SftError};
pub use events::{Begin, Criterion, End, Event, Look, Outcome, Step, clock_text};
pub use settings::{Checkpoints, Every, Length, Method, Optimiser, Settings, TooLong};
pub use state::Best;
pub use stop::Stop;
pub use text::{is_hidden, printable};
pub use train::train;
