//! Beside the floors: a model API that plays an agent's model from a script. Support of tests.
//!
//! [`ScriptedApi`] listens on loopback and speaks Anthropic Messages, OpenAI Responses, OpenAI Chat Completions and
//! Gemini generateContent, streamed and not, well enough for the real command-line agents. A [`Script`] sees each
//! request as a [`Conversation`] and answers with a [`Turn`]: something said, shell commands through whatever tool
//! the agent declares, or a [`Fault`]. Where in the script a conversation stands is read from the request itself, so
//! tries again, resumed sessions and side calls are answered rightly. What each request cost stands in a [`Ledger`]:
//! whoever counts tokens between agent and server must come to the same figures.
//!
//! It must never be linked by a program that measures, listen beyond loopback, or look into the run it serves.

mod conversation;
mod fault;
mod ledger;
mod plan;
mod script;
mod server;
mod tokens;
mod wire;

pub use conversation::{Conversation, Protocol, Tool, ToolResult};
pub use fault::Fault;
pub use ledger::{Credential, Entry, Ledger, Request, Service};
pub use plan::{Plan, PlanError};
pub use script::{Call, Script, Turn};
pub use server::ScriptedApi;
pub use tokens::Tokens;
