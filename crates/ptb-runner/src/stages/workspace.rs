//! What an agent starts with, and what the wall is asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ptb_agents::{BIN, Launch, Places, copy_folder};
use ptb_core::cell::{AgentAction, RunSpec};
use ptb_core::run::StageFailure;
use ptb_eval::weights_dir;
use ptb_gateway::inside::{EVALUATE_PY, TIMER_SH};
use ptb_sandbox::{Access, Bind, Identity, Wall, WallSpec, exposes, give_to_agent, wall_by_name};

use crate::context::Programs;
use crate::failure::harness;
use crate::preflight::gpu_devices;

/// Where the prompt says that things are. Without a wall that moves paths the workspace is known only
/// when an attempt is made: the prompt then speaks of the current directory.
pub(super) fn places(spec: &RunSpec, base: &Path) -> Result<Places, StageFailure> {
    let wall = wall_by_name(&spec.sandbox).map_err(harness)?;
    let usual = Places::default();
    Ok(match wall.inside(&WallSpec::new(".", ["true"])).moves_binds {
        true => usual,
        false => Places { task: ".".to_owned(), base_model: base.display().to_string(), ..usual },
    })
}

/// Fills a fresh workspace.
pub(super) fn fill(task: &Path, spec: &RunSpec) -> Result<(), StageFailure> {
    fs::create_dir_all(task).map_err(harness)?;
    let script = spec.benchmark.value.script();
    if let Some(script) = script {
        script.copy_context(task).map_err(harness)?;
    }
    if let AgentAction::Folder { path, .. } = &spec.agent.action {
        copy_folder(path, task).map_err(harness)?;
    }
    if let Some(script) = script {
        script.write_templates(&task.join("templates")).map_err(harness)?;
        script.copy_evaluation(task).map_err(harness)?;
    }
    // A script's evaluate.py is its own; everyone else's is a client of the door.
    let evaluate = script.is_none().then_some(("evaluate.py", EVALUATE_PY));
    for (name, text) in evaluate.into_iter().chain([("timer.sh", TIMER_SH)]) {
        let path = task.join(name);
        fs::write(&path, text)
            .map_err(|e| harness(format!("cannot write {}: {e}", path.display())))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(harness)?;
    }
    Ok(())
}

/// What a wall needs to know of an attempt.
pub(super) struct Site<'a> {
    pub(super) spec: &'a RunSpec,
    pub(super) programs: &'a Programs,
    pub(super) task: &'a Path,
    pub(super) door: &'a Path,
    pub(super) base: &'a Path,
    pub(super) secrets: &'a [PathBuf],
    /// The scaffold's folder, where one is installed.
    pub(super) scaffold: Option<&'a Path>,
}

/// Where an installed scaffold lies inside.
const SCAFFOLD: &str = "/opt/agent";

impl Site<'_> {
    /// The wall and its specification, but for the command, which needs the places that it gives.
    pub(super) fn build(&self) -> Result<(Box<dyn Wall>, WallSpec, Places), StageFailure> {
        let wall = wall_by_name(&self.spec.sandbox).map_err(harness)?;
        give_to_agent(self.task, Identity::for_this_process()).map_err(harness)?;
        let usual = Places::default();
        let mut wanted = WallSpec::new(self.task, Vec::<String>::new());
        wanted.door = Some(self.door.to_owned());
        wanted.programs = [Some(&self.programs.door), self.programs.sft.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        wanted.binds = bind_model(self.base, Path::new(&usual.base_model)).map_err(harness)?;
        wanted.binds.extend(self.spec.binds.iter().map(|bind| Bind {
            source: bind.host.clone(),
            target: bind.inside.clone(),
            access: if bind.writable { Access::Write } else { Access::Read },
        }));
        wanted.binds.extend(gpus(self.spec.budget.gpus));
        wanted.binds.extend(self.scaffold.map(|folder| Bind {
            source: folder.to_owned(),
            target: SCAFFOLD.into(),
            access: Access::Read,
        }));
        wanted.secrets = self.secrets.to_vec();
        wanted.secrets.extend(self.spec.data.clone());
        // The harness's program can make and grade test questions; the instruct model is not for agents.
        wanted.secrets.push(self.programs.ptb.clone());
        let instruct = self.spec.model.value.instruct.as_ref().map(weights_dir);
        let instruct = instruct.and_then(Result::ok).map(|(dir, _)| dir);
        // Whoever binds it declares it; it is only not shown by chance.
        wanted.secrets.extend(instruct.filter(|dir| exposes(dir)));
        let inside = wall.inside(&wanted);
        let text = |path: &Path| path.display().to_string();
        let places = Places {
            home: text(&inside.home),
            task: text(&inside.task),
            base_model: if inside.moves_binds { usual.base_model } else { text(self.base) },
            programs: inside
                .programs
                .iter()
                .map(|p| text(p))
                .chain(self.scaffold.map(|folder| {
                    let folder = if inside.moves_binds { Path::new(SCAFFOLD) } else { folder };
                    text(&folder.join(BIN))
                }))
                .collect(),
            door: inside.door.as_deref().map(text).unwrap_or_default(),
        };
        Ok((wall, wanted, places))
    }
}

/// Device nodes of so many GPUs, with those that all of them share.
fn gpus(count: u32) -> Vec<Bind> {
    let shared = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"].map(PathBuf::from);
    let shared = shared.into_iter().filter(|p| count > 0 && p.exists());
    let bind = |path: PathBuf| Bind { source: path.clone(), target: path, access: Access::Device };
    gpu_devices().into_iter().take(count as usize).chain(shared).map(bind).collect()
}

/// Makes the folders of the agent's home that outlive a launch, below `home` of the host, with the files that lie in
/// them at first, and has the wall show them. Without a wall that moves paths the home is the workspace.
pub(super) fn with_state(
    mut wanted: WallSpec,
    launch: &Launch,
    (home, places): (&Path, &Places),
) -> Result<WallSpec, StageFailure> {
    let moved = Places::default().home == places.home;
    let root = if moved { home } else { Path::new(&places.home) };
    for folder in &launch.state {
        fs::create_dir_all(root.join(folder)).map_err(harness)?;
    }
    for (path, text) in &launch.files {
        let path = root.join(path);
        if path.symlink_metadata().is_err() {
            path.parent().map_or(Ok(()), fs::create_dir_all).map_err(harness)?;
            fs::write(&path, text).map_err(harness)?;
        }
    }
    if moved && !launch.state.is_empty() {
        give_to_agent(home, Identity::for_this_process()).map_err(harness)?;
        wanted.state.extend(launch.state.iter().map(|folder| Bind {
            source: home.join(folder),
            target: Path::new(&places.home).join(folder),
            access: Access::Write,
        }));
    }
    Ok(wanted)
}

/// Puts the command into the specification.
pub(super) fn with_command(mut wanted: WallSpec, launch: Launch, places: &Places) -> WallSpec {
    wanted.command = launch.argv;
    wanted.env = launch.env;
    wanted.cwd = PathBuf::from(&places.task);
    wanted
}

/// Binds for a model's folder. The hub's cache is made of links that lead out of the folder: then each
/// file is bound by itself.
fn bind_model(model: &Path, target: &Path) -> std::io::Result<Vec<Bind>> {
    let read = |source: PathBuf, target: PathBuf| Bind { source, target, access: Access::Read };
    let entries: Vec<_> = fs::read_dir(model)?.collect::<Result<_, _>>()?;
    if !entries.iter().any(|e| e.file_type().is_ok_and(|t| t.is_symlink())) {
        return Ok(vec![read(model.to_owned(), target.to_owned())]);
    }
    let mut binds = Vec::new();
    for entry in entries {
        let path = entry.path().canonicalize()?;
        if path.is_file() {
            binds.push(read(path, target.join(entry.file_name())));
        }
    }
    Ok(binds)
}
