//! Scaffolds from npm, each version in a folder of its own below the cache, installed whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ptb_core::cell::{AgentAction, RunSpec};
use ptb_core::files::sha256_hex;
use ptb_core::registry::{Agent, Entry, Install};
use thiserror::Error;

/// The variable that names the cache's folder, in place of the user's own.
const CACHE_ENV: &str = "PTB_CACHE";

/// Of a registry that does not answer it is known soon; npm's own patience is minutes.
const RETRIES: [&str; 3] =
    ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"];
/// Codes by which npm says that there is no network.
const OFFLINE: [&str; 8] = [
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "ETIMEDOUT",
    "ENOTCACHED",
];

/// Why a scaffold is not there.
#[derive(Debug, Error)]
pub enum InstallError {
    /// npm is missing, or says no.
    #[error("cannot install {agent}: {why}; hint: {hint}")]
    Npm {
        /// Which agent.
        agent: String,
        /// What npm said at its end.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// It is not in the cache, and npm's registry cannot be reached.
    #[error("{agent} {version} is not in the cache ({}), and npm's registry cannot be reached: {why}; hint: {hint}", cache.display())]
    Offline {
        /// Which agent.
        agent: String,
        /// The version that is wanted, `latest` as it is.
        version: String,
        /// The folder that was looked into.
        cache: PathBuf,
        /// What npm said at its end.
        why: String,
        /// What to do.
        hint: String,
    },
    /// The system refused.
    #[error("cannot install {agent} into {}: {source}; hint: name another folder in {CACHE_ENV}", path.display())]
    Io {
        /// Which agent.
        agent: String,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An installed scaffold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its folder, which holds `node_modules`.
    pub folder: PathBuf,
    /// The version that is there, as its package tells it.
    pub version: String,
}

/// Where programs of an installed scaffold lie in its folder.
pub const BIN: &str = "node_modules/.bin";

/// Installs a scaffold, unless it is there; none where there is nothing to install. `version` is another than the
/// file's. It may take minutes: `tell` gets a line when something is fetched.
///
/// # Errors
/// npm's, or the system's.
pub fn install(
    agent: &Entry<Agent>,
    version: Option<&str>,
    tell: &dyn Fn(String),
) -> Result<Option<Installed>, InstallError> {
    let Some(install) = &agent.value.install else { return Ok(None) };
    let place = Place { agent: &agent.id, install };
    let version = place.resolved(version.unwrap_or(&install.version))?;
    let folder = place.folder(&cache(), &version);
    if !folder.is_dir() {
        tell(format!("installing {} {version} (npm)", name(agent)));
        place.fetch(&folder, &version)?;
    }
    let version = place.version(&folder).unwrap_or(version);
    Ok(Some(Installed { folder, version }))
}

/// The version by number that an agent runs in; `wanted` is another than its file's. None where there is nothing to
/// install. Only what is no number (`latest`, ranges) is asked of npm.
///
/// # Errors
/// npm's.
pub fn version_of(
    agent: &Entry<Agent>,
    wanted: Option<&str>,
) -> Result<Option<String>, InstallError> {
    let Some(install) = &agent.value.install else { return Ok(None) };
    let place = Place { agent: &agent.id, install };
    place.resolved(wanted.unwrap_or(&install.version)).map(Some)
}

/// The same of a run's agent, in the version that its options name.
///
/// # Errors
/// As [`install`].
pub fn install_for(
    spec: &RunSpec,
    tell: &dyn Fn(String),
) -> Result<Option<Installed>, InstallError> {
    match &spec.agent.action {
        AgentAction::Command(agent) => {
            install(agent, spec.agent.options.get("version").map(String::as_str), tell)
        }
        _ => Ok(None),
    }
}

fn name(entry: &Entry<Agent>) -> &str {
    if entry.value.name.is_empty() { &entry.id } else { &entry.value.name }
}

/// The folder of what is fetched once: `PTB_CACHE`, else the user's cache.
fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set(CACHE_ENV)
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("ptb")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/ptb")))
        .unwrap_or_else(|| std::env::temp_dir().join("ptb-cache"))
}

struct Place<'a> {
    agent: &'a str,
    install: &'a Install,
}

impl Place<'_> {
    fn packages(&self, version: &str) -> Vec<String> {
        self.install.npm.iter().map(|package| package.replace("{version}", version)).collect()
    }

    /// Two files with one id may ask for different packages.
    fn folder(&self, cache: &Path, version: &str) -> PathBuf {
        let digest = sha256_hex(self.packages(version).join("\n").as_bytes());
        let digest: String = digest.chars().take(8).collect();
        cache.join("agents").join(self.agent).join(format!("{version}-{digest}"))
    }

    /// The scaffold's own package, without its version: the first that has one.
    fn own(&self) -> Option<&str> {
        let with = self.install.npm.iter().find(|package| package.contains("{version}"))?;
        with.strip_suffix("@{version}")
    }

    /// A version by number: `latest` and ranges are what npm says they are today.
    fn resolved(&self, wanted: &str) -> Result<String, InstallError> {
        let exact = wanted.chars().next().is_some_and(|c| c.is_ascii_digit())
            && wanted.split(['-', '+']).next().is_some_and(|core| core.split('.').count() == 3);
        let (false, Some(package)) = (exact, self.own()) else { return Ok(wanted.to_owned()) };
        let shown =
            self.npm(&["view", &format!("{package}@{wanted}"), "version", "--json"], None, wanted)?;
        let said: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
        let last = said.as_array().and_then(|all| all.last()).unwrap_or(&said);
        let fits = |v: &&str| v.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c));
        last.as_str().filter(fits).map(str::to_owned).ok_or_else(|| InstallError::Npm {
            agent: self.agent.to_owned(),
            why: format!("npm knows no version `{wanted}` of {package}"),
            hint: "look at `npm view PACKAGE versions`",
        })
    }

    fn fetch(&self, folder: &Path, version: &str) -> Result<(), InstallError> {
        let parent = folder.parent().unwrap_or(folder);
        let io = |source| InstallError::Io {
            agent: self.agent.to_owned(),
            path: parent.to_owned(),
            source,
        };
        fs::create_dir_all(parent).map_err(io)?;
        let fresh = tempfile::Builder::new().prefix(".new-").tempdir_in(parent).map_err(io)?;
        let packages = self.packages(version);
        let fixed = ["install", "--no-audit", "--no-fund", "--no-progress", "--prefix", "."];
        let arguments: Vec<&str> =
            fixed.into_iter().chain(packages.iter().map(String::as_str)).collect();
        self.npm(&arguments, Some(fresh.path()), version)?;
        let fresh = fresh.keep();
        // Agents run as another user.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&fresh, mode).map_err(io)?;
        match fs::rename(&fresh, folder) {
            Ok(()) => Ok(()),
            // Somebody else was faster, and has the same.
            Err(_) if folder.is_dir() => fs::remove_dir_all(&fresh).map_err(io),
            Err(e) => Err(io(e)),
        }
    }

    /// The version that lies there.
    fn version(&self, folder: &Path) -> Option<String> {
        let path = folder.join("node_modules").join(self.own()?).join("package.json");
        let text = ptb_core::files::read_bounded(&path, 1 << 20).ok()?;
        let package: serde_json::Value = serde_json::from_slice(&text).ok()?;
        package["version"].as_str().map(str::to_owned)
    }

    fn offline(&self, version: &str, why: String) -> InstallError {
        let cache = cache().join("agents").join(self.agent);
        let hint = match self.kept(&cache).as_slice() {
            [] => format!(
                "run `ptb install {}` where there is network, with the same {CACHE_ENV}",
                self.agent
            ),
            kept => format!("it has {}: name one with --agent-version", kept.join(", ")),
        };
        let (agent, version) = (self.agent.to_owned(), version.to_owned());
        InstallError::Offline { agent, version, cache, why, hint }
    }

    /// Versions that lie in the cache, in order of name.
    fn kept(&self, cache: &Path) -> Vec<String> {
        let names = fs::read_dir(cache).into_iter().flatten().filter_map(Result::ok);
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let version = |name: String| Some(name.rsplit_once('-')?.0.to_owned());
        let own = |version: &String| self.folder(&self::cache(), version).is_dir();
        let mut kept: Vec<String> = names.filter_map(version).filter(own).collect();
        kept.sort();
        kept
    }

    fn npm(
        &self,
        arguments: &[&str],
        dir: Option<&Path>,
        version: &str,
    ) -> Result<Output, InstallError> {
        let fault =
            |why: String, hint| InstallError::Npm { agent: self.agent.to_owned(), why, hint };
        let mut command = Command::new("npm");
        command
            .args(arguments)
            .args(RETRIES)
            .stdin(Stdio::null())
            .current_dir(dir.unwrap_or(Path::new("/")));
        let output = command.output().map_err(|e| {
            fault(
                format!("npm cannot be started: {e}"),
                "install Node.js 20 or later, which brings npm",
            )
        })?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last: Vec<String> = lines[lines.len().saturating_sub(4)..]
            .iter()
            .map(|line| line.chars().filter(|c| !c.is_control()).take(200).collect())
            .collect();
        if OFFLINE.iter().any(|code| said.contains(code)) {
            return Err(self.offline(version, last.join(" | ")));
        }
        Err(fault(
            last.join(" | "),
            "try the same with npm itself, and look at the network and the version",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_by_number_needs_no_network_and_a_folder_of_its_own() {
        let install = Install {
            npm: vec!["@a/b@{version}".into(), "node@22".into()],
            version: "1.2.3".into(),
        };
        let place = Place { agent: "b", install: &install };
        assert_eq!(place.own(), Some("@a/b"));
        assert_eq!(place.resolved("1.2.3").unwrap(), "1.2.3");
        assert_eq!(place.resolved("1.2.3-beta.1").unwrap(), "1.2.3-beta.1");
        let (one, other) =
            (place.folder(Path::new("/c"), "1.2.3"), place.folder(Path::new("/c"), "1.2.4"));
        assert!(one.starts_with("/c/agents/b") && one != other);
        let other = Install { npm: vec!["@a/b@{version}".into()], ..install.clone() };
        assert_ne!(Place { agent: "b", install: &other }.folder(Path::new("/c"), "1.2.3"), one);
    }
}
