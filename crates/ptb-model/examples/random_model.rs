//! `random_model DIR tiny|mini|m150|CONFIG.json SEED [bf16]`: writes a randomly initialised model for tests and benches,
//! in one of three sizes or of any supported configuration.
#![allow(clippy::print_stderr, reason = "an example's output")]

use std::path::Path;
use std::process::ExitCode;

use ptb_model::{RandomModel, random_like, random_model};

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [dir, shape, rest @ ..] = args else {
        return Err("usage: random_model DIR tiny|mini|m150|CONFIG.json SEED [bf16]".into());
    };
    let seed = rest.first().map_or(Ok(1), |seed| seed.parse())?;
    let bf16 = rest.get(1).is_some_and(|a| a == "bf16");
    let model = match shape.as_str() {
        "tiny" => RandomModel::tiny(seed),
        "mini" => RandomModel::mini(seed),
        "m150" => RandomModel::m150(seed),
        file => {
            let config = serde_json::from_slice(&std::fs::read(Path::new(file))?)?;
            return Ok(random_like(dir, &config, seed, bf16)?);
        }
    };
    Ok(random_model(dir, &RandomModel { bf16, ..model })?)
}
