//! Why an engine does not serve, by whose fault it is and what to do.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ptb_model::ModelError;
use ptb_sandbox::WallError;

use crate::client::InferError;

/// Why an engine does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The model is at fault, and its owner answers for it.
    #[error("{message}")]
    Model {
        /// The file and its fault.
        message: String,
    },
    /// A server of another project is not installed.
    #[error(
        "the engine {engine} is not installed: {why}\nhint: {install}, or name its program in {variable}"
    )]
    Missing {
        /// The engine's name.
        engine: &'static str,
        /// Where it was looked for.
        why: String,
        /// How to install it.
        install: &'static str,
        /// The environment variable that names its program.
        variable: &'static str,
    },
    /// The engine's program cannot be run.
    #[error("failed to start {}: {source}\nhint: check that the program is there and executable", .program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The sandbox that was asked for cannot be had.
    #[error("failed to build the engine's sandbox: {0}")]
    Sandbox(#[from] WallError),
    /// Something around the server could not be prepared.
    #[error(
        "failed to prepare the engine: {doing}: {source}\nhint: check the disk and permissions"
    )]
    Prepare {
        /// What was being done, to what.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What GPUs there are is not known, or is not what the environment says.
    #[error(
        "failed to find this machine's GPUs: {why}\nhint: see what `nvidia-smi` prints; CUDA_VISIBLE_DEVICES \
         names whole GPUs by index or id, and where it is empty none is used"
    )]
    Gpus {
        /// What was wrong.
        why: String,
        /// Whether `nvidia-smi` did not answer in time.
        late: bool,
    },
    /// The GPU has less memory free than the share asked for.
    #[error(transparent)]
    Shortfall(#[from] Shortfall),
    /// The server ended before it served, and its output tells why.
    #[error(transparent)]
    Fault(Box<Fault>),
    /// It ended before it served.
    #[error("the engine ended while it was starting ({status}): {output}\nhint: see its log")]
    Ended {
        /// How it ended.
        status: String,
        /// The end of its output.
        output: String,
    },
    /// It did not answer in time.
    #[error(
        "the engine did not answer within {} s; it last said: {last}\nhint: raise the time to start, or look at its log",
        .time.as_secs()
    )]
    Timeout {
        /// How long it was waited for.
        time: Duration,
        /// The last line of its output.
        last: String,
    },
    /// A server that somebody else runs does not answer.
    #[error(transparent)]
    Unreachable(#[from] InferError),
}

impl StartError {
    /// True when the model is at fault rather than machine, program or network.
    pub fn is_model_fault(&self) -> bool {
        match self {
            Self::Model { .. } => true,
            Self::Fault(fault) => fault.of_model,
            _ => false,
        }
    }

    /// Whether the same start may succeed later, on this machine, with nothing changed by hand.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Gpus { late, .. } => *late,
            // Nothing that ends gives a GPU more memory than it has.
            Self::Shortfall(short) => short.needed <= short.total,
            Self::Fault(fault) => fault.retryable(),
            Self::Unreachable(e) => e.retryable(),
            _ => false,
        }
    }

    pub(super) fn prepare(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Prepare { doing: doing.into(), source: source.into() }
    }
}

impl From<ModelError> for StartError {
    fn from(e: ModelError) -> Self {
        let message = e.to_string();
        if e.is_io() {
            return Self::Ended { status: "before loading".to_owned(), output: message };
        }
        Self::Model { message }
    }
}

impl From<Fault> for StartError {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

/// Memory that is missing on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "GPU {gpu} has {} GiB of {} GiB free and the engine needs {} GiB: {} GiB are missing\nhint: {}",
    gib(*.free), gib(*.total), gib(*.needed), gib(.needed.saturating_sub(*.free)),
    if .needed > .total { "use a larger GPU" } else { "end what else uses the GPU, or ask for a smaller share" }
)]
pub struct Shortfall {
    /// The GPU's index.
    pub gpu: u32,
    /// Bytes needed: the share asked for, or what the weights take at least.
    pub needed: u64,
    /// Bytes free.
    pub free: u64,
    /// Bytes that it has.
    pub total: u64,
}

fn gib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 30))
}

/// Classes of faults of a server that did not come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultClass {
    /// The GPU's memory did not suffice.
    GpuMemory,
    /// The machine's memory did not suffice.
    HostMemory,
    /// The server does not know the model's architecture.
    Architecture,
    /// The weights are broken or do not fit the configuration.
    Weights,
    /// `config.json` says something that cannot be.
    Config,
    /// Files of tokenizer or processor are missing or broken.
    Tokenizer,
    /// The element type cannot be computed with.
    Dtype,
    /// The context asked for is longer than the model's, or than memory allows.
    Context,
    /// The socket or port is taken.
    Address,
    /// The server's installation is broken (a missing library, a driver too old).
    Installation,
    /// Anything else.
    Crash,
}

impl FaultClass {
    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::GpuMemory => "gpu-memory",
            Self::HostMemory => "host-memory",
            Self::Architecture => "architecture",
            Self::Weights => "weights",
            Self::Config => "config",
            Self::Tokenizer => "tokenizer",
            Self::Dtype => "dtype",
            Self::Context => "context",
            Self::Address => "address",
            Self::Installation => "installation",
            Self::Crash => "crash",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::GpuMemory => "the GPU's memory does not suffice",
            Self::HostMemory => "the machine's memory does not suffice",
            Self::Architecture => "it does not know the model's architecture",
            Self::Weights => "the weights cannot be loaded",
            Self::Config => "the model's configuration cannot be used",
            Self::Tokenizer => "the tokenizer or processor cannot be loaded",
            Self::Dtype => "the element type cannot be used",
            Self::Context => "the context is too long",
            Self::Address => "its socket or port is taken",
            Self::Installation => "its installation is broken",
            Self::Crash => "it crashed",
        }
    }
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A server that ended before it served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the engine {engine} did not start ({status}): {}: {message}\nhint: {hint}", .class.words())]
pub struct Fault {
    /// The engine's name.
    pub engine: &'static str,
    /// Which class.
    pub class: FaultClass,
    /// Whether the model is at fault (its owner answers), not machine or installation.
    pub of_model: bool,
    /// How the server ended.
    pub status: String,
    /// The line of its output that tells why.
    pub message: String,
    /// What to do.
    pub hint: &'static str,
    /// The end of its output, for a log or a person.
    pub tail: String,
}

impl Fault {
    /// Whether starting again may help.
    pub fn retryable(&self) -> bool {
        let passing = [FaultClass::GpuMemory, FaultClass::Address, FaultClass::Crash];
        !self.of_model && passing.contains(&self.class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortfall_says_how_much_is_missing() {
        let short = Shortfall { gpu: 1, needed: 60 << 30, free: 20 << 30, total: 80 << 30 };
        let e = StartError::from(short);
        assert!(e.retryable() && !e.is_model_fault());
        let text = e.to_string();
        assert!(text.starts_with("GPU 1 has 20.0 GiB of 80.0 GiB free"), "{text}");
        assert!(text.contains("needs 60.0 GiB: 40.0 GiB are missing\nhint: end what"), "{text}");
        // What no waiting cures is not tried again.
        let short = Shortfall { gpu: 1, needed: 90 << 30, free: 20 << 30, total: 80 << 30 };
        let e = StartError::from(short);
        assert!(!e.retryable() && e.to_string().ends_with("hint: use a larger GPU"), "{e}");
    }
}
