//! Floor 4: the way through the wall.
//!
//! The agent's world has no network and no file of ours in it. What it may ask of the harness it asks
//! through one Unix socket, `door.sock`, by HTTP/1.1, one request a connection. Behind the socket
//! stand doors ([`Door`]), one per path: [`ClockDoor`] tells the time left, [`EvaluationDoor`] evaluates
//! a model directory and streams progress, [`ReleaseDoor`] gives the warm engine up. What an evaluation
//! is, the runner says by implementing [`Evaluator`].
//!
//! A model crosses the wall as a snapshot ([`snapshot`]): opened by handle below the workspace, without
//! following a link, copied, hashed, checked, kept. [`inside`] holds the two files that the workspace
//! gets: `evaluate.py` and `timer.sh`, thin clients without an answer or a scorer in them.
//!
//! The scaffold's provider is the other way through: the model API ([`ModelApi`]) answers at a loopback port of the
//! agent's network namespace, keeps the real key, the limits and the record of every exchange, and talks to one
//! upstream alone.
//!
//! It must never: read a file through a path that the agent can bend, hold more memory or connections
//! than [`Bounds`] say, let one client keep another from being served, tell the agent a path of the host
//! or more than the run's feedback level allows, send a key or a request to anybody but the upstream that was named, or trust a word that comes through a socket.

mod clock;
mod door;
mod evaluation;
mod handover;
pub mod inside;
mod model_api;
mod server;
mod slots;
pub mod snapshot;
mod socket;

pub use clock::{ClockDoor, ClockReading, ReadClock};
pub use door::{Body, Door, Refusal, Request, Response, json_reply};
pub use evaluation::{
    EvaluationDoor, EvaluationEnd, EvaluationFault, EvaluationRecord, EvaluationRequest,
    EvaluationSetup, Evaluator, FaultKind, KnownModel, ModelSource, Outcome, Progress, ReleaseDoor,
    RequestRecord, SampleFeedback, ScoreRecord, Workspace,
};
pub use handover::{Handover, LISTEN_SOCKET};
pub use model_api::{
    ApiBounds, ApiTotals, Credential, Foreign, LimitReached, Limits, Mask, ModelApi, ModelApiSetup,
    ModelTotals, Models, Outage, Probe, RunningModelApi, ServerTools, Service, Traffic, Used,
};
pub use server::{Bounds, Gateway, GatewayError, Running};
