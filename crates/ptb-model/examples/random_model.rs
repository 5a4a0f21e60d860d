//! `random_model DIR tiny|mini|m150 SEED [bf16]`: writes a randomly initialised model for tests and benches.

use std::process::ExitCode;

use ptb_model::{RandomModel, random_model};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(dir), Some(shape)) = (args.first(), args.get(1)) else {
        return ExitCode::from(2);
    };
    let seed = args.get(2).and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut model = match shape.as_str() {
        "tiny" => RandomModel::tiny(seed),
        "mini" => RandomModel::mini(seed),
        "m150" => RandomModel::m150(seed),
        _ => return ExitCode::from(2),
    };
    model.bf16 = args.get(3).is_some_and(|a| a == "bf16");
    match random_model(dir, &model) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
