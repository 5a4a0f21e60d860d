//! `ptb fingerprint`.

use ptb_detect::fingerprint;

use crate::args::FingerprintArgs;
use crate::fault::{Fault, Outcome};
use crate::print;

pub(crate) fn run(args: &FingerprintArgs) -> Outcome {
    let found = fingerprint(&args.model).map_err(Fault::usage)?;
    let text = serde_json::to_string(&found).map_err(Fault::harness)?;
    print::out(&format!("{text}\n"))
}
