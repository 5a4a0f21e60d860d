//! Request seeds: each completion has its own.

use sha2::{Digest, Sha256};

/// The seed of one request: the first four bytes, little-endian, of SHA-256 of
/// `{run_seed}:{sample_id}:{epoch}:{call}`, top bit cleared (the published derivation, so that runs
/// can be compared with others that use it). `epoch` counts from 1, `call` from 0.
pub fn request_seed(run_seed: u64, sample_id: &str, epoch: u32, call: u32) -> u32 {
    let digest = Sha256::digest(format!("{run_seed}:{sample_id}:{epoch}:{call}").as_bytes());
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_equal_the_published_ones() {
        assert_eq!(request_seed(0, "1", 1, 0), 1_016_978_164);
        assert_eq!(request_seed(0, "1", 1, 1), 2_055_304_814);
        assert_eq!(request_seed(0, "1", 2, 0), 527_283_141);
    }
}
