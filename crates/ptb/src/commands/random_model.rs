//! `ptb random-model`.

use ptb_core::failure::ExitCode;
use ptb_model::{RandomModel, random_model};

use crate::args::RandomModelArgs;
use crate::fault::{Fault, Outcome};
use crate::print;

pub(crate) fn run(args: &RandomModelArgs) -> Outcome {
    random_model(&args.dir, &RandomModel::tiny(args.seed)).map_err(Fault::harness)?;
    print::err(&format!(
        "made a random model of about one million parameters in {}",
        args.dir.display()
    ));
    Ok(ExitCode::Done)
}
