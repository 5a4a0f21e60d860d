//! One file per subcommand.

pub(crate) mod contamination;
pub(crate) mod eval;
mod eval_script;
pub(crate) mod fingerprint;
pub(crate) mod install;
pub(crate) mod lineage;
pub(crate) mod list;
mod next;
pub(crate) mod random_model;
pub(crate) mod render;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod score;
pub(crate) mod serve_model;
pub(crate) mod show;
pub(crate) mod trace;

use std::path::PathBuf;

use ptb_core::registry::Registry;

use crate::args::RegistryArgs;
use crate::fault::Fault;

/// The registry: built-in, `./registry` where there is one, then the folders given.
fn registry(args: &RegistryArgs) -> Result<Registry, Fault> {
    let here = PathBuf::from("registry");
    let own = here.is_dir().then_some(here);
    let folders: Vec<PathBuf> = own.into_iter().chain(args.folders.clone()).collect();
    Registry::load(&folders).map_err(Fault::file)
}
