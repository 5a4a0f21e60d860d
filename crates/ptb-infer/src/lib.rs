//! Engines that serve a model, and the client that talks to them.
//!
//! An engine's running form is an OpenAI-compatible endpoint in a process of its own: [`Engine::start`]
//! gives a [`Running`] with its [`Endpoint`], and [`Client`] speaks to any of them. [`Builtin`] starts
//! this project's own server ([`serve`]) by running a program again; [`PythonServer`] starts
//! another project's server in a sandbox; [`Url`] is a server that somebody else runs.
//!
//! The built-in server computes on the CPU with its own kernels (`compute`), batches continuously (`batch`)
//! and shares the beginnings of prompts (`cache`). A seeded request gives the same tokens alone, among
//! others, and whatever is in the cache.
//!
//! It must never: choose a chat template or a prompt (callers render), score anything, let a request's
//! numbers depend on its neighbours, or outlive the process that started it.

mod batch;
mod cache;
mod client;
mod compute;
mod engine;
mod memory;
mod sample;
mod serve;
mod text;

pub(crate) use client::MODEL_FAULT;
pub use client::{
    ChatCall, Client, Completion, CompletionRequest, Endpoint, EndpointError, Finished, InferError,
    Prompt,
};
pub use engine::{
    Builtin, Engine, Fault, FaultClass, Isolation, Launched, ProcessOutput, PythonHome,
    PythonServer, Running, Sandboxing, ServeSpec, Shortfall, ShownModel, StartError, Url,
    device_environment, gpu_devices, tidy, write_lscpu,
};
pub use serve::{ChatRenderer, ChatRequest, Listen, ServeError, ServeOptions, serve, tie_to_stdin};
