//! A disposable place for one attempt: a directory of its own, a secret with a mark in it, a
//! workspace, and the running of commands behind a wall.

use libtest_mimic::Failed;
use ptb_sandbox::{
    Ended, Identity, Namespaces, Running, Sizes, Wall, WallSpec, Weakness, give_to_agent,
};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// Longest that any command of these tests may run.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// This program where everybody may execute it, under the name that it has inside.
pub(crate) fn program() -> &'static Path {
    PROGRAM.get_or_init(|| {
        let path = open_dir().keep().join("attack");
        std::fs::copy("/proc/self/exe", &path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    })
}

/// Removes what [`program`] made; statics are not dropped.
pub(crate) fn clean() {
    if let Some(dir) = PROGRAM.get().and_then(|path| path.parent()) {
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// A temporary directory that others may enter: secrets in it are guarded by the wall alone.
pub(crate) fn open_dir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("ptb-wall-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

/// What an attempt finds outside.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) mark: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = open_dir();
        let mark =
            format!("mark-{}-{count}-{:?}", std::process::id(), dir.path().as_os_str().len());
        for name in ["secret", "workspace", "shown"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let place = Self { dir, mark };
        // Open to all, so that no permission of the host stands in for the wall.
        place.write("secret/mark.txt", &place.mark, 0o666);
        place.allow("secret", 0o777);
        place.allow("shown", 0o777);
        give_to_agent(&place.at("workspace"), Identity::for_this_process()).unwrap();
        place
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) {
        std::fs::write(self.at(name), text).unwrap();
        self.allow(name, mode);
    }

    pub(crate) fn allow(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.at(name), PermissionsExt::from_mode(mode)).unwrap();
    }

    /// A specification with small sizes and a short life.
    pub(crate) fn spec<S: Into<String>>(&self, command: impl IntoIterator<Item = S>) -> WallSpec {
        let mut spec = WallSpec::new(self.at("workspace"), command);
        spec.programs.push(program().to_owned());
        spec.deadline = Some(Duration::from_secs(30));
        spec.grace = Duration::from_millis(500);
        spec.sizes = Sizes { tmp: 1 << 20, home: 1 << 20, shm: 1 << 20 };
        spec
    }

    /// The attacker with its arguments, where it finds itself.
    pub(crate) fn attack(&self, args: &[String], weaken: &[Weakness]) -> WallSpec {
        let host_root = weaken.contains(&Weakness::HostRoot);
        let program =
            if host_root { program().to_str().unwrap() } else { "/opt/ptb/bin/attack" }.to_owned();
        let command = [program, "attack".to_owned()].into_iter().chain(args.iter().cloned());
        let mut spec = self.spec(command);
        spec.weaken = weaken.iter().copied().collect();
        if host_root {
            spec.cwd = spec.workspace.clone();
        }
        spec
    }
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) ended: Ended,
}

impl Outcome {
    pub(crate) fn breached(&self) -> bool {
        self.stdout.contains("BREACH")
    }

    /// Whether the attempt came to its end and failed. An attacker that crashed proves nothing.
    pub(crate) fn held(&self) -> bool {
        self.stdout.contains("HELD") && !self.breached()
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a command to its end.
pub(crate) fn run(wall: &dyn Wall, spec: WallSpec) -> Outcome {
    runtime().block_on(async {
        let running = wall.launch(spec).expect("launch");
        tokio::time::timeout(LIMIT, finish(running)).await.expect("the command ends in time")
    })
}

/// Reads everything and waits.
pub(crate) async fn finish(mut running: Running) -> Outcome {
    let mut stdout = running.stdout.take().unwrap();
    let mut stderr = running.stderr.take().unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (_, _, ended) =
        tokio::join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err), running.wait());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome { stdout: text(&out), stderr: text(&err), ended }
}

pub(crate) fn run_behind(spec: WallSpec) -> Outcome {
    run(&Namespaces::new(), spec)
}

/// A process outside, with the agent's user and the mark in its arguments and environment.
pub(crate) struct Victim(pub(crate) Child);

impl Victim {
    pub(crate) fn new(mark: &str) -> Self {
        let mut command = Command::new(program());
        command.args(["role", "victim", mark]).env("PTB_MARK", mark).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).current_dir("/");
        let agent = Identity::for_this_process();
        if is_root() {
            command.uid(agent.uid).gid(agent.gid);
        }
        let mut child = command.spawn().unwrap();
        // It says when it is ready to be found.
        let ready = std::io::Read::read(child.stdout.as_mut().unwrap(), &mut [0; 1]).unwrap();
        assert_eq!(ready, 1);
        Self(child)
    }

    pub(crate) fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says why a test does nothing; where everything is required, that is a failure.
pub(crate) fn skip(why: &str) -> Result<(), Failed> {
    if std::env::var_os("PTB_REQUIRE_ALL").is_some_and(|value| value == "1") {
        return Err(format!("skipped, but everything is required: {why}").into());
    }
    eprintln!("skipped: {why}");
    Ok(())
}

/// The whole suite in a child of user 65534.
pub(crate) fn again_as_ordinary_user() -> Result<(), Failed> {
    let home = open_dir();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o777))?;
    let mut command = Command::new(program());
    let as_root = ["HOME", "CARGO_HOME", "XDG_RUNTIME_DIR"];
    as_root.iter().for_each(|name| {
        command.env_remove(name);
    });
    let output = command
        .arg("--color=never")
        .env("PTB_WALL_ORDINARY", "1")
        .env("TMPDIR", home.path())
        .env("HOME", home.path())
        .current_dir(home.path())
        .uid(65534)
        .gid(65534)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{}", text.lines().last().unwrap_or_default());
    errors.lines().filter(|line| line.starts_with("skipped")).for_each(|line| eprintln!("{line}"));
    if output.status.success() { Ok(()) } else { Err(format!("{text}\n{errors}").into()) }
}
