//! What every test of the program needs: a place of its own with two small models, a registry and agents;
//! the program run in it; looks at processes and run directories.

#![allow(dead_code, reason = "each test program uses a part of this")]

pub(crate) mod agents;
pub(crate) mod processes;
pub(crate) mod runs;
pub(crate) mod scripts;
pub(crate) mod seeker;
pub(crate) mod server;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// Programs that lie beside the one under test, as packages.
const BESIDE: &[&str] = &["ptb-door", "ptb-sft"];

/// The program under test. Those it sends into the wall lie beside it, or are built once.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let ptb = PathBuf::from(env!("CARGO_BIN_EXE_ptb"));
        if !BESIDE.iter().all(|name| ptb.with_file_name(name).is_file()) {
            build_beside(&ptb);
        }
        ptb
    })
}

/// `cargo test -p ptb` alone does not build other packages' programs.
fn build_beside(ptb: &Path) {
    let profile = ptb.parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--target-dir"]).arg(profile.parent().unwrap());
    cargo.args(BESIDE.iter().flat_map(|name| ["-p", name]));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
}

/// Whether something that this machine lacks lets a test skip: never where all is required.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("PTB_REQUIRE_ALL").is_none_or(|v| v != "1"), "required: {why}");
    eprintln!("skipped: {why}");
}

/// The folder of reference files, where there is one.
pub(crate) fn shared() -> Option<PathBuf> {
    let dir = std::env::var_os("PTB_SHARED").map(PathBuf::from);
    if dir.is_none() {
        skip("PTB_SHARED names no folder of reference files");
    }
    dir
}

/// Whether agents can be put behind the wall here; asked once, of the program itself.
pub(crate) fn wall() -> bool {
    static WALL: OnceLock<bool> = OnceLock::new();
    let works = *WALL.get_or_init(|| {
        let place = Place::new();
        place.agent("probe", "true");
        place.experiment("probe", &["probe"], "");
        place.run("probe", &[]).status.code() != Some(5)
    });
    if !works {
        skip("this machine allows no sandbox (see `ptb run`'s message)");
    }
    works
}

/// A folder with models `mini` (base and instruct) and a registry that names them.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::Builder::new().prefix("ptb-test-").tempdir().unwrap() };
        for (name, seed) in [("base", "1"), ("instruct", "2")] {
            let made = place.ptb(&["random-model", name, "--seed", seed]).output().unwrap();
            assert!(made.status.success(), "{made:?}");
        }
        place.model("mini", "base", "instruct");
        place
    }

    /// A registry file for a model of the small shape.
    pub(crate) fn model(&self, id: &str, base: &str, instruct: &str) {
        let (base, instruct) = (self.path().join(base), self.path().join(instruct));
        let text = format!(
            "name = \"Mini\"\n[base]\nhub = \"ptb/{id}\"\npath = {base:?}\n\
             [instruct]\nhub = \"ptb/{id}-instruct\"\npath = {instruct:?}\n\
             [architecture]\nclass = \"Qwen3ForCausalLM\"\nlayers = 4\nhidden = 128\nintermediate = 512\n\
             heads = 4\nkv_heads = 2\nhead_dim = 32\nvocab = 288\ntied = true\ncontext = 32768\n\
             parameters = 1021312\n[chat]\ntemplate = \"qwen3\"\n"
        );
        self.write(&format!("registry/models/{id}.toml"), &text);
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A word that the command lines and environments of this place's processes hold.
    pub(crate) fn marker(&self) -> &str {
        self.path().file_name().unwrap().to_str().unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A `solve.sh` agent.
    pub(crate) fn agent(&self, name: &str, script: &str) {
        let path = self.write(&format!("{name}/solve.sh"), format!("#!/bin/bash\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `NAME.toml`: these agents on `mini` and eight arithmetic questions; `more` comes before the tables.
    pub(crate) fn experiment(&self, name: &str, agents: &[&str], more: &str) {
        let hours = if more.contains("hours") { "" } else { "hours = 0.02\n" };
        let text = format!(
            "name = \"{name}\"\nagents = {agents:?}\nmodels = [\"mini\"]\nbenchmarks = [\"arithmetic\"]\n\
             {hours}{more}\n[evaluate]\nlimit = 8\nmax_tokens = 8\n"
        );
        self.write(&format!("{name}.toml"), text);
    }

    /// The program, standing in this place, with an environment that holds nothing but what is needed.
    pub(crate) fn ptb(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("PTB_TEST_MARKER", self.marker())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, args: &[&str]) -> Answer {
        Answer::of(self, self.ptb(args).output().unwrap())
    }

    /// `ptb run NAME.toml`, further arguments after it.
    pub(crate) fn run(&self, name: &str, more: &[&str]) -> Output {
        self.run_command(name, more).output().unwrap()
    }

    pub(crate) fn run_command(&self, name: &str, more: &[&str]) -> Command {
        let mut command = self.ptb(&["run", &format!("{name}.toml")]);
        command.args(more);
        command
    }

    /// `ptb run`, left running.
    pub(crate) fn start(&self, name: &str, more: &[&str]) -> Child {
        self.run_command(name, more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Text with this place's path and the program's taken out.
    pub(crate) fn neutral(&self, text: &str) -> String {
        let program = program().display().to_string();
        text.replace(&program, "ptb").replace(&self.path().display().to_string(), "PLACE")
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    /// Output without this place's path. Whatever a terminal would take for a command is a fault: output
    /// that goes to a file holds none.
    pub(crate) fn of(place: &Place, output: Output) -> Self {
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("output is UTF-8");
            assert!(!text.contains('\u{1b}'), "escape sequences without a terminal: {text:?}");
            assert!(!text.contains("panicked"), "{text}");
            place.neutral(&text)
        };
        Self {
            code: output.status.code().expect("ended by itself"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// For snapshots.
    pub(crate) fn shown(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }
}
