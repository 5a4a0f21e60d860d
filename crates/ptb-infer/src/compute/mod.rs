//! The arithmetic of inference: kernels, weights made ready for them, one step over many rows.
//!
//! Why not candle's own? A row's numbers must not depend on who else is in the batch. General matrix
//! products choose their order of summation by the shape of the whole product, so a row alone and a row
//! among 31 others differ in the last bits, and sampled texts then part ways. Here every output element
//! is one chain of fused multiply-adds over ascending k, whatever the batch, the chunk, the number of
//! threads or the width of the machine's vectors. The mathematics is defined once, in ptb-model's
//! differentiable `forward`; tests hold this code to it.

pub(crate) mod attention;
#[cfg(test)]
mod families;
pub(crate) mod kernel;
pub(crate) mod math;
pub(crate) mod step;
pub(crate) mod weights;
