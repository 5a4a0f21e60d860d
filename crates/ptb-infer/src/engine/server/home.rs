//! What other programs in Python need of the machine, for whoever runs one as servers are run: behind a wall that
//! shows the interpreter, its packages and the GPUs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::python::{find, inspect_python};
use super::{Product, gpu, sandbox};
use crate::engine::StartError;

/// A Python of this machine.
#[derive(Debug, Clone)]
pub struct PythonHome {
    /// The interpreter, by its own name: an environment is known by that.
    pub program: PathBuf,
    /// Where it and its packages lie: what a wall must show for it, without what every wall shows.
    pub places: Vec<PathBuf>,
    /// Its version, and those of the packages that matter to a score.
    pub versions: BTreeMap<String, String>,
}

impl PythonHome {
    /// The interpreter that the environment's `variable` names, else `python3` on `PATH`.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn program(variable: &'static str) -> Result<PathBuf, String> {
        let product = Product { name: "python3", variable, install: "install Python" };
        find(&product, None).map_err(in_words)
    }

    /// Asks an interpreter where it and its packages lie.
    ///
    /// # Errors
    /// Why it cannot tell, in words.
    pub async fn of(program: PathBuf) -> Result<Self, String> {
        let found = inspect_python(&program).await.map_err(in_words)?;
        Ok(Self { program: found.program, places: found.places, versions: found.versions })
    }
}

fn in_words(e: StartError) -> String {
    match e {
        StartError::Missing { why, .. } => why,
        e => e.to_string(),
    }
}

/// Device files of the GPUs on this machine, all that a program needs to use them.
pub fn gpu_devices() -> Vec<PathBuf> {
    gpu::devices()
}

/// Writes an `lscpu` into a folder that a wall shows: vLLM on processors asks for it, and it reads `/sys`, which is
/// not there behind one.
///
/// # Errors
/// A folder that cannot be written.
pub fn write_lscpu(bin: &Path) -> std::io::Result<()> {
    sandbox::write_lscpu(bin)
}

/// Variables of this process that say which devices to use and how. Keys, proxies and tokens are not among them.
pub fn device_environment() -> BTreeMap<String, String> {
    sandbox::passed().collect()
}
