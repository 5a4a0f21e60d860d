//! Finding the Python that runs programs.

use crate::{CodeError, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Environment variable that names the Python to use.
pub const PYTHON_VARIABLE: &str = "PTB_CODE_PYTHON";

/// Tells where an interpreter really is: what is on `PATH` may be a launcher or an environment's link.
const QUESTION: &str = "import json, os, sys; print(json.dumps({'program': os.path.realpath(sys.executable), \
     'prefixes': sorted({os.path.realpath(p) for p in (sys.base_prefix, sys.base_exec_prefix)}), \
     'version': '.'.join(map(str, sys.version_info[:3])), 'number': sys.version_info[0] * 100 + sys.version_info[1], \
     'implementation': sys.implementation.name}))";

/// A Python of this machine, as results should name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// The interpreter itself, without links and launchers.
    pub program: PathBuf,
    /// Its version, `3.11.2` for example.
    pub version: String,
    /// `cpython` for example.
    pub implementation: String,
    /// Directories that it lives in.
    pub(crate) prefixes: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Answer {
    program: PathBuf,
    prefixes: Vec<PathBuf>,
    version: String,
    number: u32,
    implementation: String,
}

/// Asks the Python that is `wanted`, else the one the environment names, else `python3`.
pub(crate) fn find(wanted: Option<&Path>) -> Result<Python> {
    let named = std::env::var_os(PYTHON_VARIABLE).filter(|name| !name.is_empty());
    let program = wanted.map(Path::to_owned).or(named.map(PathBuf::from));
    let program = program.unwrap_or_else(|| "python3".into());
    let fails = |why: String| CodeError::NoPython { program: program.clone(), why };
    let asked = Command::new(&program)
        .args(["-I", "-S", "-B", "-c", QUESTION])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| fails(format!("it does not start: {error}")))?;
    if !asked.status.success() {
        let said = String::from_utf8_lossy(&asked.stderr);
        let last = said.lines().last().unwrap_or("it said nothing").to_owned();
        return Err(fails(format!("it failed ({}): {last}", asked.status)));
    }
    let answer: Answer = serde_json::from_slice(&asked.stdout)
        .map_err(|error| fails(format!("it does not answer as Python does: {error}")))?;
    if answer.number < 309 {
        return Err(fails(format!("its version is {}", answer.version)));
    }
    let Answer { program, prefixes, version, implementation, .. } = answer;
    Ok(Python { program, version, implementation, prefixes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_python_is_told_with_the_variable_that_names_another() {
        for (program, part) in [
            ("/nowhere/python3", "does not start"),
            ("/bin/false", "failed"),
            ("/bin/true", "does not answer"),
        ] {
            let error = find(Some(Path::new(program))).unwrap_err();
            assert!(error.is_missing_requirement());
            let text = error.to_string();
            assert!(text.contains(part) && text.contains(PYTHON_VARIABLE), "{text}");
        }
    }
}
