//! A session of a real command-line agent: its home, its working directory, its programs.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const KEY: &str = "scripted-key-0123456789";
/// A session takes some seconds; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where the agents are; none after a reason was told.
fn programs() -> Option<PathBuf> {
    let Some(prefix) = std::env::var_os("PTB_AGENT_CLIS") else {
        assert!(
            std::env::var_os("PTB_REQUIRE_ALL").is_none_or(|v| v != "1"),
            "PTB_AGENT_CLIS is not set"
        );
        eprintln!("skipped: PTB_AGENT_CLIS names no folder with the agents' programs");
        return None;
    };
    Some(Path::new(&prefix).join("node_modules/.bin"))
}

/// An agent's session: its home, its working directory, its programs.
pub(crate) struct Session {
    pub(crate) folder: tempfile::TempDir,
    programs: PathBuf,
}

impl Session {
    pub(crate) fn new() -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "work"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Some(Self { folder, programs })
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs an agent and gives what it printed; it must end well.
    pub(crate) fn run(&self, command: &[&str], environment: &[(&str, &str)]) -> String {
        let (well, printed) = self.end_of(command, environment);
        let errors = fs::read(self.at("err")).unwrap();
        assert!(well, "{}: {printed}\n{}", command[0], String::from_utf8_lossy(&errors));
        printed
    }

    /// Runs an agent and tells whether it ended well, and what it printed.
    pub(crate) fn end_of(&self, command: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
        let (name, arguments) = command.split_first().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let (out, err) = (self.at("out"), self.at("err"));
        let mut child = Command::new(self.programs.join(name))
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("HOME", self.at("home"))
            .envs(environment.iter().copied())
            .current_dir(self.at("work"))
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{name} does not end");
            }
            thread::sleep(Duration::from_millis(20));
        };
        (status.success(), String::from_utf8_lossy(&fs::read(&out).unwrap()).into_owned())
    }
}
