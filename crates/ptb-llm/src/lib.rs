//! Floor 1: the client of LLM APIs that grade and judge.
//!
//! A [`Client`] asks one model behind any OpenAI-compatible server and comes back with a valid answer or with an
//! error that says whose fault it is: it waits outages out, asks again where a reply is no answer, counts what is
//! spent and stops before a limit, and keeps what was paid for in a [`Cache`]. [`Prices`] tell what tokens cost;
//! [`Level`] finds how many requests a server bears. [`protocol`] knows the wire formats that scaffolds speak.
//!
//! It must never know what is asked or graded, send a key to another host or write it anywhere, or take a failure for
//! an answer.

mod cache;
mod call;
mod client;
mod error;
pub mod http;
mod key;
mod level;
pub mod mask;
mod price;
pub mod protocol;
#[cfg(feature = "testing")]
pub mod testing;

pub use cache::Cache;
pub use call::{Answer, Call, Finish, Message, Reply, Role, Totals, Usage};
pub use client::{Client, Model, Options};
pub use error::LlmError;
pub use key::Key;
pub use level::{Level, Place};
pub use price::{Price, Prices};
