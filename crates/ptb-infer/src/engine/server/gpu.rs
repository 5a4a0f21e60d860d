//! NVIDIA GPUs: which there are, how much of their memory is free, which device files a server needs.
//!
//! Asked of `nvidia-smi`, which every driver brings along; a machine without it has no GPU for us. One that has
//! it and gets no answer is in trouble, not without a GPU.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::super::output::tidy;
use super::super::{ServeSpec, Shortfall, StartError};

/// A driver in trouble can hold `nvidia-smi` for minutes.
const ASK_TIME: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;
/// The largest share of a GPU that is asked for when nothing else is said, and what is left free of what is
/// there: drivers and libraries take some that no accounting shows.
const DEFAULT_SHARE: f64 = 0.9;
const LEFT: f64 = 0.03;
/// What a server needs beside the weights, at least.
const BESIDE: u64 = 1536 * MIB;

/// One GPU's memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gpu {
    index: u32,
    uuid: String,
    total: u64,
    free: u64,
}

/// The GPUs that a server would use: those of `CUDA_VISIBLE_DEVICES` where it is set, else all.
///
/// # Errors
/// Where there may be one and nothing can be said of it: a server on the processor would take days.
pub(super) async fn visible() -> Result<Vec<Gpu>, StartError> {
    let chosen = std::env::var_os("CUDA_VISIBLE_DEVICES");
    let chosen = chosen.as_deref().map(OsStr::to_string_lossy);
    ask("nvidia-smi".as_ref(), chosen.as_deref(), ASK_TIME).await
}

async fn ask(
    program: &OsStr,
    chosen: Option<&str>,
    time: Duration,
) -> Result<Vec<Gpu>, StartError> {
    if chosen.is_some_and(is_none) {
        return Ok(Vec::new());
    }
    let mut command = Command::new(program);
    command
        .args(["--query-gpu=index,uuid,memory.total,memory.free", "--format=csv,noheader,nounits"]);
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let fails = |why: String| StartError::Gpus { why, late: false };
    let Ok(answer) = tokio::time::timeout(time, command.output()).await else {
        let why = format!("nvidia-smi did not answer within {} s", time.as_secs_f32());
        return Err(StartError::Gpus { why, late: true });
    };
    let output = match answer {
        Ok(output) => output,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fails(format!("nvidia-smi cannot be run: {e}"))),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let all = read(&said);
    if !output.status.success() || all.is_empty() {
        let said = said.lines().map(|line| tidy(line, 200)).find(|line| !line.is_empty());
        let said = said.unwrap_or_else(|| "it said nothing".to_owned());
        return Err(fails(format!("nvidia-smi names none ({}): {said}", output.status)));
    }
    chosen_of(all, chosen).map_err(fails)
}

/// Whether this is how `CUDA_VISIBLE_DEVICES` says that no GPU shall be used: nothing, an index that cannot be,
/// or Slurm's word for a job without one.
fn is_none(chosen: &str) -> bool {
    let first = chosen.split(',').next().unwrap_or_default().trim();
    ["", "-1", "NoDevFiles"].contains(&first)
}

/// Lines of `index, uuid, MiB, MiB`; others (a GPU that is lost says `[N/A]`) are left out.
fn read(text: &str) -> Vec<Gpu> {
    let line = |line: &str| {
        let mut fields = line.split(',').map(str::trim);
        let index = fields.next()?.parse().ok()?;
        let uuid = fields.next()?.to_owned();
        let total = fields.next()?.parse::<u64>().ok()?.checked_mul(MIB)?;
        let free = fields.next()?.parse::<u64>().ok()?.checked_mul(MIB)?;
        Some(Gpu { index, uuid, total, free })
    };
    text.lines().take(1024).filter_map(line).collect()
}

/// In the order and number that `CUDA_VISIBLE_DEVICES` says: indices or beginnings of ids; the first that is
/// neither ends the list, as CUDA has it, but must not begin it.
fn chosen_of(all: Vec<Gpu>, chosen: Option<&str>) -> Result<Vec<Gpu>, String> {
    let Some(chosen) = chosen else { return Ok(all) };
    let named = |name: &str| {
        let fits = |gpu: &&Gpu| {
            name.parse() == Ok(gpu.index)
                || (name.starts_with("GPU-") && gpu.uuid.starts_with(name))
        };
        all.iter().find(fits).cloned()
    };
    let names = || chosen.split(',').map(str::trim);
    if let Some(name) = names().find(|name| name.starts_with("MIG-")) {
        let name = tidy(name, 80);
        return Err(format!("CUDA_VISIBLE_DEVICES names {name}: parts of GPUs are not supported"));
    }
    let found: Vec<Gpu> = names().map_while(named).collect();
    match names().next() {
        Some(name) if found.is_empty() => {
            let name = tidy(name, 80);
            Err(format!("CUDA_VISIBLE_DEVICES names {name}, which nvidia-smi does not know"))
        }
        _ => Ok(found),
    }
}

/// The share of the first GPU's memory to ask for, by what is wanted and what is free.
pub(super) fn share(gpu: &Gpu, spec: &ServeSpec, weights: u64) -> Result<f64, Shortfall> {
    let short = |needed| Shortfall { gpu: gpu.index, needed, free: gpu.free, total: gpu.total };
    let least = weights.saturating_add(weights / 5).saturating_add(BESIDE);
    if let Some(share) = spec.gpu_share {
        let needed = (share * gpu.total as f64) as u64;
        let needed = needed.max(least);
        return if needed > gpu.free { Err(short(needed)) } else { Ok(share) };
    }
    if least > gpu.free {
        return Err(short(least));
    }
    let free = gpu.free as f64 / gpu.total.max(1) as f64 - LEFT;
    // Two places are enough, and rounding down never asks for more than there is.
    Ok(((free.min(DEFAULT_SHARE) * 100.0).floor() / 100.0).max(0.01))
}

/// Device files of the driver.
pub(super) fn devices() -> Vec<PathBuf> {
    let is_ours = |name: &str| {
        let number = name.strip_prefix("nvidia").is_some_and(|n| n.parse::<u32>().is_ok());
        number || ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"].contains(&name)
    };
    let named = |dir: &str, keep: &dyn Fn(&str) -> bool| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter(|e| e.file_name().to_str().is_some_and(keep)).map(|e| e.path()).collect()
    };
    let mut all = named("/dev", &is_ours);
    all.extend(named("/dev/nvidia-caps", &|name| name.starts_with("nvidia-cap")));
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn gpu(total: u64, free: u64) -> Gpu {
        Gpu { index: 0, uuid: "GPU-1".to_owned(), total: total * GIB, free: free * GIB }
    }

    #[test]
    fn what_nvidia_smi_prints_is_read() {
        let text =
            "0, GPU-aa, 81559, 81008\n1, GPU-ab, 81559, 12\n2, GPU-c, [N/A], [N/A]\nno devices\n";
        let all = read(text);
        assert_eq!(all.len(), 2);
        assert_eq!((all[1].index, all[1].free), (1, 12 * MIB));
        let chosen = |text| chosen_of(all.clone(), Some(text));
        let ids = |text| chosen(text).unwrap().iter().map(|g| g.index).collect::<Vec<_>>();
        assert_eq!(chosen_of(all.clone(), None), Ok(all.clone()));
        assert_eq!(ids("1"), [1]);
        assert_eq!(ids("1,0"), [1, 0]);
        assert_eq!(ids("GPU-ab"), [1]);
        assert_eq!(ids("0,7,1"), [0]);
        assert!(chosen("2").unwrap_err().contains("names 2, which"));
        assert!(chosen("0,MIG-5c").unwrap_err().contains("MIG-5c: parts of GPUs"));
    }

    #[tokio::test]
    async fn no_answer_is_not_no_gpu() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let program = |text: &str| {
            let path = dir.path().join(text.len().to_string());
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path.into_os_string()
        };
        let long = Duration::from_secs(60);
        let driverless = program("echo; echo 'NVIDIA-SMI has failed'; exit 9");
        for nothing in ["", " ", "-1", "NoDevFiles"] {
            assert_eq!(ask(&driverless, Some(nothing), long).await.unwrap(), []);
        }
        assert_eq!(ask("/nowhere/nvidia-smi".as_ref(), None, long).await.unwrap(), []);
        let one = program("echo '0, GPU-8f, 81559, 900'");
        assert_eq!(ask(&one, Some("0"), long).await.unwrap().len(), 1);
        let slow = program("exec sleep 600");
        let e = ask(&slow, None, Duration::from_millis(50)).await.unwrap_err();
        assert!(e.retryable() && e.to_string().contains("within 0.05 s"), "{e}");
        for (program, chosen, part) in [
            (driverless, None, "(exit status: 9): NVIDIA-SMI has failed\nhint: "),
            (program("echo '0, GPU-8f, [N/A], [N/A]'"), None, "[N/A]"),
            (program("exit 0 # it"), None, "said nothing"),
            (one, Some("3"), "names 3"),
            ("/etc/passwd".into(), None, "cannot be run"),
        ] {
            let e = ask(&program, chosen, long).await.unwrap_err();
            assert!(!e.retryable() && e.to_string().contains(part), "{part}: {e}");
        }
    }

    #[test]
    fn the_share_is_what_was_asked_for_or_what_is_free() {
        let mut spec = ServeSpec::new("m");
        assert_eq!(share(&gpu(80, 79), &spec, GIB), Ok(0.9));
        assert_eq!(share(&gpu(80, 40), &spec, GIB), Ok(0.47));
        let short = share(&gpu(80, 4), &spec, 8 * GIB).unwrap_err();
        assert!(short.needed > 9 * GIB && short.free == 4 * GIB, "{short}");
        spec.gpu_share = Some(0.3);
        assert_eq!(share(&gpu(80, 40), &spec, GIB), Ok(0.3));
        let short = share(&gpu(80, 20), &spec, GIB).unwrap_err();
        assert_eq!((short.needed, short.free), (24 * GIB, 20 * GIB));
        // A share that cannot hold the weights is too small, however much is free.
        spec.gpu_share = Some(0.01);
        assert!(share(&gpu(80, 2), &spec, 8 * GIB).is_err());
    }
}
