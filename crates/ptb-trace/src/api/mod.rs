//! The API record: what went over the wire to the model, which the agent cannot touch.

mod gather;
mod record;
mod wire;

pub(crate) use gather::Gathered;
pub use gather::{ApiSummary, Conversation};
pub use record::{ApiLimits, ApiRecord, Body, Exchange, RecordState, Request, Response};
