//! Attacks on the snapshot, each run against a careful-looking copier by paths as well, where it must
//! succeed: an attack that works nowhere would show nothing. Each runs against both ways of opening.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use tokio_util::sync::CancellationToken;

use super::error::{CheckFault, SnapshotError};
use super::open::{ModelHandle, Way};
use super::take::{Order, SnapshotLimits, Source, Taken, copy_once, take};

const SECRET: &str = "a secret of the host";
const WAYS: [Way; 2] = [Way::Openat2, Way::Walk];
const LIMITS: SnapshotLimits = SnapshotLimits { bytes: 1 << 20, files: 10, entries: 1000 };

/// A workspace with an honest model in `m`, beside a host directory that looks like a model.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self::below(tempfile::tempdir().unwrap())
    }

    fn below(dir: tempfile::TempDir) -> Self {
        for (place, text) in [("work/m", "honest"), ("host", SECRET)] {
            let model = dir.path().join(place);
            fs::create_dir_all(&model).unwrap();
            fs::write(model.join("config.json"), text).unwrap();
            fs::write(model.join("model.safetensors"), text).unwrap();
        }
        Self { dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn source(&self, relative: &str) -> Source {
        Source { workspace: self.at("work"), relative: relative.into(), shown: relative.into() }
    }

    /// One try of ours, without the retries.
    fn once(&self, relative: &str, way: Way) -> Result<(tempfile::TempDir, Taken), SnapshotError> {
        let into = self.at("snapshots");
        fs::create_dir_all(&into).unwrap();
        let cancel = CancellationToken::new();
        let order = Order { limits: LIMITS, check: &|_| Ok(()), cancel: &cancel };
        copy_once(&self.source(relative), &into, order, Some(way))
    }

    /// A copier that looks before it copies, as one would write it without thinking of races.
    fn naive(&self, relative: &str) -> io::Result<Vec<Vec<u8>>> {
        let from = self.at("work").join(relative);
        if !fs::symlink_metadata(&from)?.is_dir() {
            return Err(io::Error::other("not a directory"));
        }
        let mut contents = Vec::new();
        for name in ["config.json", "model.safetensors"] {
            let path = from.join(name);
            if !fs::symlink_metadata(&path)?.is_file() {
                return Err(io::Error::other("not a file"));
            }
            let to = self.at("naive");
            fs::copy(&path, &to)?;
            contents.push(fs::read(&to)?);
        }
        Ok(contents)
    }
}

fn contents(dir: &Path) -> Vec<Vec<u8>> {
    fs::read_dir(dir).unwrap().map(|e| fs::read(e.unwrap().path()).unwrap()).collect()
}

fn is_link<T>(result: Result<T, SnapshotError>) -> bool {
    matches!(result, Err(SnapshotError::Link { .. }))
}

#[test]
fn an_honest_model_is_taken_and_the_rest_is_listed() {
    let scene = Scene::new();
    for name in ["modeling.py", "pytorch_model.bin", "template.jinja", "e\u{1b}[2Jvil"] {
        fs::write(scene.at("work/m").join(name), "x").unwrap();
    }
    fs::create_dir(scene.at("work/m/checkpoint-5")).unwrap();
    symlink("/etc/passwd", scene.at("work/m/notes")).unwrap();
    for way in WAYS {
        let (copy, taken) = scene.once("./m", way).unwrap();
        let names: Vec<&str> = taken.files.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["config.json", "model.safetensors"]);
        let left = [
            "checkpoint-5/",
            "e\\u{1b}[2Jvil",
            "modeling.py",
            "notes",
            "pytorch_model.bin",
            "template.jinja",
        ];
        assert_eq!((taken.left_out, taken.left_out_count), (left.map(String::from).to_vec(), 6));
        assert_eq!(taken.bytes, 12);
        let lines: String =
            taken.files.iter().map(|f| format!("{}  {}\n", f.sha256, f.name)).collect();
        assert_eq!(taken.sha256, ptb_core::files::sha256_hex(lines.as_bytes()));
        for file in &taken.files {
            let (ours, theirs) =
                (copy.path().join(&file.name), scene.at("work/m").join(&file.name));
            assert_eq!(file.sha256, ptb_core::files::sha256_file(&theirs).unwrap());
            let (ours, theirs) = (fs::metadata(ours).unwrap(), fs::metadata(theirs).unwrap());
            assert!(ours.ino() != theirs.ino() && ours.nlink() == 1, "a copy, never a hard link");
        }
    }
}

#[test]
fn links_are_not_followed_wherever_they_stand() {
    let scene = Scene::new();
    symlink(scene.at("host"), scene.at("work/dir")).unwrap();
    symlink("m", scene.at("work/near")).unwrap();
    symlink("/proc/self/root", scene.at("work/magic")).unwrap();
    fs::create_dir(scene.at("work/f")).unwrap();
    symlink(scene.at("host/config.json"), scene.at("work/f/config.json")).unwrap();
    let host = scene.at("host");
    let magic = format!("magic{}", host.display());
    for way in WAYS {
        for path in ["dir", "near", "f", &magic, "dir/."] {
            assert!(is_link(scene.once(path, way)), "{path} by {way:?}");
        }
        let (outside, up) = (scene.once("/etc", way), scene.once("../host", way));
        assert!(matches!(outside, Err(SnapshotError::Outside { .. })));
        assert!(matches!(up, Err(SnapshotError::Outside { .. })));
    }
    // Each of them does lead to the host's content.
    for path in ["dir", &magic, "../host"] {
        let read = fs::read_to_string(scene.at("work").join(path).join("config.json")).unwrap();
        assert_eq!(read, SECRET, "{path}");
    }
    assert_eq!(fs::read_to_string(scene.at("work/f/config.json")).unwrap(), SECRET);
}

#[test]
fn mounts_are_not_crossed() {
    for way in WAYS {
        let opened = ModelHandle::open(Path::new("/"), Path::new("proc"), "proc", Some(way));
        assert!(is_link(opened.map(|_| ())), "{way:?}");
        assert!(ModelHandle::open(Path::new("/proc"), Path::new("."), "p", Some(way)).is_ok());
    }
}

#[test]
fn special_files_neither_pass_nor_hold_the_copier() {
    let scene = Scene::new();
    let model = scene.at("work/m");
    let fifo = model.join("config.json");
    fs::remove_file(&fifo).unwrap();
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    for way in WAYS {
        assert!(matches!(scene.once("m", way), Err(SnapshotError::NotPlain { .. })));
        // The same when the listing still saw a regular file: opening does not wait for a writer.
        let handle = ModelHandle::open(&scene.at("work"), Path::new("m"), "m", Some(way)).unwrap();
        assert!(matches!(handle.file("config.json"), Err(SnapshotError::NotPlain { .. })));
    }
    // A plain copy waits for ever (until a writer comes).
    let (copied, path) = (Arc::new(AtomicBool::new(false)), fifo.clone());
    let (flag, to) = (Arc::clone(&copied), scene.at("naive"));
    let thread = std::thread::spawn(move || {
        let _ = fs::read(path).and_then(|bytes| fs::write(to, bytes));
        flag.store(true, Ordering::SeqCst);
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!copied.load(Ordering::SeqCst));
    drop(File::options().write(true).open(&fifo).unwrap());
    thread.join().unwrap();
    fs::remove_file(&fifo).unwrap();
    let _listener = UnixListener::bind(&fifo).unwrap();
    for way in WAYS {
        assert!(matches!(scene.once("m", way), Err(SnapshotError::NotPlain { .. })));
        let handle = ModelHandle::open(&scene.at("work"), Path::new("m"), "m", Some(way)).unwrap();
        assert!(matches!(handle.file("config.json"), Err(SnapshotError::NotPlain { .. })));
    }
    fs::remove_file(&fifo).unwrap();
    // /dev/zero: only root can make the node at all, and agents are not root.
    let zero = rustix::fs::makedev(1, 5);
    let made = mknodat(CWD, &fifo, FileType::CharacterDevice, Mode::from_raw_mode(0o666), zero);
    assert_eq!(made.is_ok(), rustix::process::geteuid().is_root());
    for way in WAYS.into_iter().filter(|_| made.is_ok()) {
        assert!(matches!(scene.once("m", way), Err(SnapshotError::NotPlain { .. })));
    }
}

#[test]
fn hard_links_to_foreign_files_are_refused() {
    let scene = Scene::new();
    let (secret, model) = (scene.at("host/config.json"), scene.at("work/m"));
    fs::remove_file(model.join("config.json")).unwrap();
    fs::hard_link(&secret, model.join("config.json")).unwrap();
    // The same user's file: whoever could link it could as well have copied it. (Inside the wall no
    // file of the host can be linked: links do not cross mounts.)
    for way in WAYS {
        assert_eq!(scene.once("m", way).unwrap().1.bytes, SECRET.len() as u64 + 6);
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(scene.at("work"), Some(64_742), Some(64_742)).unwrap();
        for way in WAYS {
            assert!(matches!(scene.once("m", way), Err(SnapshotError::Foreign { .. })));
        }
        assert_eq!(scene.naive("m").unwrap()[0], SECRET.as_bytes());
    }
}

/// Swaps two names for as long as it lives.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapper {
    fn new(a: PathBuf, b: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let swap = move || {
            while !seen.load(Ordering::Relaxed) {
                renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).unwrap();
                // Time in each state, so that both sides get their turn on few processors.
                for _ in 0..200 {
                    std::hint::spin_loop();
                }
            }
        };
        Self { stop, thread: Some(std::thread::spawn(swap)) }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// The race must be won against the naive copier and never against ours.
fn race(scene: &Scene) {
    let stolen = |contents: Vec<Vec<u8>>| contents.iter().any(|c| c == SECRET.as_bytes());
    let won = (0..200_000).position(|_| scene.naive("m").is_ok_and(stolen));
    assert!(won.is_some(), "the race was never won: it shows nothing");
    for way in WAYS {
        let (mut whole, mut refused) = (0, 0);
        for _ in 0..150 {
            match scene.once("m", way) {
                Ok((copy, _)) => {
                    assert!(!stolen(contents(copy.path())), "{way:?} gave the host's content away");
                    whole += 1;
                }
                Err(e) => {
                    assert_eq!(e.kind(), ptb_core::failure::FailureKind::Agent, "{e}");
                    refused += 1;
                }
            }
        }
        assert!(whole + refused == 150 && refused > 0, "{whole} whole, {refused} refused");
    }
}

#[test]
fn a_directory_swapped_for_a_link_never_leads_out() {
    let scene = Scene::new();
    symlink(scene.at("host"), scene.at("work/evil")).unwrap();
    let _swapper = Swapper::new(scene.at("work/m"), scene.at("work/evil"));
    race(&scene);
}

#[test]
fn a_file_swapped_for_a_link_never_leads_out() {
    let scene = Scene::new();
    symlink(scene.at("host/model.safetensors"), scene.at("work/evil")).unwrap();
    let _swapper = Swapper::new(scene.at("work/m/model.safetensors"), scene.at("work/evil"));
    race(&scene);
}

#[test]
fn amounts_are_bounded_before_a_byte_is_copied() {
    let scene = Scene::new();
    let weights = scene.at("work/m/model.safetensors");
    File::options().write(true).open(&weights).unwrap().set_len(50 << 30).unwrap();
    for way in WAYS {
        let e = scene.once("m", way).unwrap_err();
        assert!(matches!(&e, SnapshotError::TooMuch { found, .. } if *found > 50 << 30), "{e}");
    }
    // Without the bound a sparse file fills our disk: its copy has real blocks.
    File::options().write(true).open(&weights).unwrap().set_len(4 << 20).unwrap();
    assert!(fs::metadata(&weights).unwrap().blocks() < 100);
    let cancel = CancellationToken::new();
    let limits = SnapshotLimits { bytes: 1 << 40, ..LIMITS };
    let order = Order { limits, check: &|_| Ok(()), cancel: &cancel };
    take(&scene.source("m"), &scene.at("taken"), order).unwrap();
    assert_eq!(fs::metadata(scene.at("taken/model.safetensors")).unwrap().len(), 4 << 20);
    // A disk that cannot hold it is our fault, told before anything is written.
    File::options().write(true).open(&weights).unwrap().set_len(1 << 43).unwrap();
    let order = Order { limits: SnapshotLimits { bytes: 1 << 44, ..limits }, ..order };
    let e = take(&scene.source("m"), &scene.at("more"), order).unwrap_err();
    assert_eq!(e.kind(), ptb_core::failure::FailureKind::Harness, "{e}");
    assert!(!scene.at("more").exists());
}

#[test]
fn a_hundred_thousand_files_cost_nothing() {
    // In memory where that can be had: so many files take a disk many seconds.
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let scene = Scene::below(memory.unwrap());
    for n in 0..100_000 {
        File::create(scene.at("work/m").join(format!("junk-{n}"))).unwrap();
    }
    for way in WAYS {
        let e = scene.once("m", way).unwrap_err();
        assert!(matches!(&e, SnapshotError::TooMuch { found: 1001, limit: 1000, .. }), "{e}");
    }
    // Without the bound all of them are looked at.
    let cancel = CancellationToken::new();
    let limits = SnapshotLimits { entries: 1 << 20, ..LIMITS };
    let order = Order { limits, check: &|_| Ok(()), cancel: &cancel };
    let taken = take(&scene.source("m"), &scene.at("taken"), order).unwrap();
    assert_eq!((taken.left_out.len(), taken.left_out_count), (64, 100_000));
}

/// Runs `write` again and again while `body` runs.
fn while_writing<T>(write: impl Fn() + Sync, body: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                write();
            }
        });
        let out = body();
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        out
    })
}

/// Weights that take long enough to copy for a writer to get its turn meanwhile, on any machine.
const LARGE: usize = 24 << 20;

fn order_of_large<'a>(cancel: &'a CancellationToken) -> Order<'a> {
    let limits = SnapshotLimits { bytes: 1 << 30, ..LIMITS };
    Order { limits, check: &|_| Ok(()), cancel }
}

#[test]
fn a_model_that_is_being_written_is_not_taken() {
    let scene = Scene::new();
    let weights = scene.at("work/m/model.safetensors");
    fs::write(&weights, vec![1; LARGE]).unwrap();
    let cancel = CancellationToken::new();
    let order = order_of_large(&cancel);
    let grow = || {
        let mut file = File::options().append(true).open(&weights).unwrap();
        file.write_all(&[2; 10]).unwrap();
    };
    let result = while_writing(grow, || take(&scene.source("m"), &scene.at("grown"), order));
    assert!(matches!(result, Err(SnapshotError::Changed { .. })), "{result:?}");
    assert!(!scene.at("grown").exists());
    let left = fs::read_dir(scene.dir.path()).unwrap();
    let left =
        left.filter(|e| e.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b".tmp"));
    assert_eq!(left.count(), 0);
    // When the writing ends, the next try finds it whole.
    take(&scene.source("m"), &scene.at("whole"), order).unwrap();
    let equal =
        fs::read(scene.at("whole/model.safetensors")).unwrap() == fs::read(&weights).unwrap();
    assert!(equal);
}

#[test]
fn a_change_with_size_and_time_put_back_is_seen() {
    use rustix::fs::{Timespec, Timestamps};
    let scene = Scene::new();
    let weights = scene.at("work/m/model.safetensors");
    fs::write(&weights, vec![1; LARGE]).unwrap();
    let fixed = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
    let put_back = Timestamps { last_access: fixed, last_modification: fixed };
    let overwrite = || {
        let mut file = File::options().write(true).open(&weights).unwrap();
        file.write_all(&[3; 4096]).unwrap();
        rustix::fs::futimens(&file, &put_back).unwrap();
    };
    overwrite();
    let cancel = CancellationToken::new();
    let order = order_of_large(&cancel);
    let result = while_writing(overwrite, || take(&scene.source("m"), &scene.at("torn"), order));
    assert!(matches!(result, Err(SnapshotError::Changed { .. })), "{result:?}");
    // Size and time of modification, which most tools compare, tell nothing of it.
    let meta = || fs::metadata(&weights).map(|m| (m.len(), m.mtime(), m.mtime_nsec())).unwrap();
    let before = meta();
    overwrite();
    assert_eq!(before, meta());
}

#[test]
fn cancelling_and_failed_checks_leave_nothing() {
    let scene = Scene::new();
    let cancel = CancellationToken::new();
    let machine = |_: &Path| Err(CheckFault::Machine("no memory".to_owned()));
    let model =
        |dir: &Path| Err(CheckFault::Model(format!("{}/config.json is bad", dir.display())));
    let run = |check: &super::take::Check| {
        let order = Order { limits: LIMITS, check, cancel: &cancel };
        take(&scene.source("m"), &scene.at("out/taken"), order).unwrap_err()
    };
    use ptb_core::failure::FailureKind::{Agent, Harness, Scheduler};
    assert_eq!(run(&machine).kind(), Harness);
    let e = run(&model);
    assert_eq!(
        (e.kind(), e.to_string().as_str()),
        (Agent, "m is no whole model: m/config.json is bad")
    );
    cancel.cancel();
    assert_eq!(run(&|_| Ok(())).kind(), Scheduler);
    assert_eq!(fs::read_dir(scene.at("out")).unwrap().count(), 0);
}
