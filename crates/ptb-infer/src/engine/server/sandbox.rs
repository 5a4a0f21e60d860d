//! The place in which a server runs: directories, binds and environment, behind a wall or without one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ptb_sandbox::{Access, Namespaces, NoWall, Wall, WallError, WallSpec, give_to_agent};
use tempfile::TempDir;

use super::model::{self, Shown};
use super::python::Installation;
use crate::engine::StartError;

/// Where the model lies behind the wall.
const MODEL: &str = "/opt/model";
const GIB: u64 = 1 << 30;
/// Longest path of a directory for sockets: their paths may have 107 bytes.
const SOCKET_DIR: usize = 60;
/// Time between TERM and KILL when a server is ended.
const GRACE: Duration = Duration::from_secs(5);
/// Threads and processes; servers start several for each core.
const PROCESSES: u64 = 32_768;

/// Variables of the harness that a server may see, by their beginnings: which devices to use and how. Keys,
/// proxies and tokens are not among them.
const PASSED: [&str; 12] = [
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "OMP_",
    "MKL_",
    "TORCH_",
    "PYTORCH_",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "VLLM_CPU_",
    "VLLM_USE_",
    "VLLM_ATTENTION_",
];

/// Tries the sandbox on this machine.
pub(super) async fn probe() -> Result<Namespaces, WallError> {
    let wall = Namespaces::new();
    let tried = wall.clone();
    match tokio::task::spawn_blocking(move || tried.probe()).await {
        Ok(report) => report.map(|_| wall),
        Err(e) => Err(WallError::BadSpec { why: e.to_string(), hint: "try again".to_owned() }),
    }
}

/// A place that is ready. Paths are those that the server sees, but for `outside`.
pub(super) struct Prepared {
    pub(super) model: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) script: PathBuf,
    /// The socket as the harness finds it.
    pub(super) outside: PathBuf,
    /// Holds everything; removed when it is dropped.
    pub(super) scratch: TempDir,
    work: PathBuf,
    wall: Result<Namespaces, NoWall>,
}

impl Prepared {
    /// Makes the directories; with a wall, whatever its user could not read is copied.
    pub(super) fn new(
        wall: Option<Namespaces>,
        script: Option<&str>,
        shown: &mut Shown,
    ) -> Result<Self, StartError> {
        let scratch = scratch().map_err(|e| StartError::prepare("making a directory", e))?;
        let (work, copies) = (scratch.path().join("work"), scratch.path().join("copies"));
        let made = [&work, &copies].into_iter().try_for_each(std::fs::create_dir);
        let made = made.and_then(|()| std::fs::create_dir(work.join("bin")));
        let written =
            made.and_then(|()| std::fs::write(work.join("serve.py"), script.unwrap_or_default()));
        let written = written.and_then(|()| model::write_own(shown, &copies));
        written.map_err(|e| StartError::prepare("writing the server's directory", e))?;
        let outside = work.join("api.sock");
        let wall = wall.ok_or_else(NoWall::new);
        let (model, seen) = match &wall {
            Ok(_) => {
                let who = WallSpec::new(&work, ["true"]).identity;
                write_lscpu(&work.join("bin"))
                    .map_err(|e| StartError::prepare("writing the server's directory", e))?;
                give_to_agent(&work, who)?;
                model::make_readable(shown, who, &copies)?;
                (PathBuf::from(MODEL), PathBuf::from(ptb_sandbox::TASK_DIR))
            }
            Err(_) => {
                let model = scratch.path().join("model");
                model::link_all(shown, &model)?;
                (model, work.clone())
            }
        };
        let (socket, script) = (seen.join("api.sock"), seen.join("serve.py"));
        Ok(Self { model, socket, script, outside, scratch, work, wall })
    }

    pub(super) fn wall(&self) -> &dyn Wall {
        match &self.wall {
            Ok(wall) => wall,
            Err(none) => none,
        }
    }

    pub(super) fn wall_name(&self) -> &'static str {
        self.wall().name()
    }

    /// What the wall is to run and show.
    pub(super) fn spec(
        &self,
        command: Vec<String>,
        env: Vec<(&'static str, String)>,
        installation: &Installation,
        shown: &Shown,
        devices: &[PathBuf],
    ) -> WallSpec {
        let mut spec = WallSpec::new(&self.work, command);
        spec.hostname = "engine".to_owned();
        spec.grace = GRACE;
        spec.limits.processes = PROCESSES;
        spec.sizes.tmp = 16 * GIB;
        spec.sizes.home = 16 * GIB;
        spec.sizes.shm = 32 * GIB;
        spec.env.extend(passed());
        let fixed = [
            ("HF_HUB_OFFLINE", "1"),
            ("TRANSFORMERS_OFFLINE", "1"),
            ("HF_HUB_DISABLE_TELEMETRY", "1"),
            ("DO_NOT_TRACK", "1"),
            ("PYTHONUNBUFFERED", "1"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
        ];
        let fixed = fixed.map(|(key, value)| (key, value.to_owned()));
        for (key, value) in fixed.into_iter().chain(env) {
            spec.env.insert(key.to_owned(), value);
        }
        // Servers start compilers and helpers of their own installation.
        let mut path = String::new();
        if self.wall.is_ok() {
            path = format!("{}/bin:", ptb_sandbox::TASK_DIR);
        } else {
            spec.env.insert("HOME".to_owned(), self.work.to_string_lossy().into_owned());
        }
        if let Some(bin) = installation.python.as_deref().and_then(Path::parent) {
            path = format!("{path}{}:", bin.display());
        }
        let old = spec.env.remove("PATH").unwrap_or_default();
        spec.env.insert("PATH".to_owned(), path + &old);
        if self.wall.is_err() {
            return spec;
        }
        for place in &installation.places {
            spec = spec.bind_read(place, place);
        }
        for (name, file) in &shown.files {
            spec = spec.bind_read(file, Path::new(MODEL).join(name));
        }
        for device in devices {
            spec = spec.bind(device, device, Access::Device);
        }
        spec
    }
}

/// Variables of the harness that a server may see.
pub(super) fn passed() -> impl Iterator<Item = (String, String)> {
    let texts = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(name, _)| PASSED.iter().any(|start| name.starts_with(start)))
}

/// A directory whose path leaves room for a socket's name.
fn scratch() -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("ptb-engine-");
    match std::env::temp_dir() {
        dir if dir.as_os_str().len() <= SOCKET_DIR => builder.tempdir(),
        _ => builder.tempdir_in("/tmp"),
    }
}

/// vLLM on processors asks `lscpu` for the cores, which reads `/sys`; there is none behind the wall. This
/// one says what the machine's own says out here.
pub(super) fn write_lscpu(bin: &Path) -> std::io::Result<()> {
    let mut command = Command::new("lscpu");
    command.args(["--json", "--extended=CPU,CORE,NODE", "--online"]).stderr(Stdio::null());
    let asked = command.output().ok().filter(|output| output.status.success());
    let text = asked.map(|output| output.stdout).unwrap_or_else(|| plain_lscpu().into_bytes());
    std::fs::write(bin.join("lscpu.json"), text)?;
    let program = bin.join("lscpu");
    std::fs::write(&program, "#!/bin/sh\nexec cat \"${0%/*}/lscpu.json\"\n")?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
}

/// As many cores as this process may use, all in one node.
fn plain_lscpu() -> String {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus: Vec<_> =
        (0..count).map(|n| serde_json::json!({ "cpu": n, "core": n, "node": 0 })).collect();
    serde_json::json!({ "cpus": cpus }).to_string()
}
