//! Models on disk, read safely, and the model code that runs and differentiates.
//!
//! A model directory comes from an agent and is hostile until proven otherwise: every file is
//! opened below the directory's own handle, every read has a bound, every number in a header is
//! checked before it is used, and what is wrong is an error that names the file and the fault.
//!
//! The room has two halves. Facts: [`ModelDir`], [`Config`], [`GenerationConfig`],
//! [`Checkpoint`], [`check_model_dir`], [`tensor_hashes`], [`weights_hash`], [`Tokenizer`]; and
//! [`save_model`], which leaves a whole model or the former one. Mathematics (feature `autograd`):
//! `Qwen3`, the one differentiable definition of the architecture, its gradient written out in `grad`;
//! faster inference code elsewhere is tested against it.
//!
//! It must never: know another crate of the house (it goes inside the wall with the fine-tuning
//! program), map a file into memory (a file cut short by its owner would end the process), follow
//! a link out of a submission, or panic on what a file says.

mod check;
mod checkpoint;
mod config;
mod dir;
mod error;
#[cfg(feature = "autograd")]
mod forward;
mod generation;
#[cfg(feature = "autograd")]
mod grad;
mod hash;
mod header;
mod layout;
mod random;
mod save;
mod tokenizer;

pub use check::{ModelFacts, check_model_dir, check_opened};
pub use checkpoint::{Checkpoint, TensorInfo};
pub use config::{Activation, Architecture, Config, Layer, Rope, Scaling, Vision, knows};
pub use dir::{Links, ModelDir};
pub use error::{Fault, ModelError};
#[cfg(feature = "autograd")]
pub use forward::{IGNORED, Parameters, Qwen3, argmax_continuation};
pub use generation::{GenerationConfig, Sampling};
#[cfg(feature = "autograd")]
pub use grad::Joined;
pub use hash::{TensorHash, tensor_hashes, weights_hash};
pub use header::Dtype;
pub use layout::{TensorRole, expected_tensors};
pub use random::{RandomModel, random_like, random_model};
pub use save::{SaveError, check_save, save_model};
pub use tokenizer::Tokenizer;
