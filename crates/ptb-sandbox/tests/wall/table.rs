//! All attempts, one row each: what is tried, what is set up for it, and which protection stops it.

use crate::place::{self, Place, Victim, is_root, run, run_behind};
use libtest_mimic::{Failed, Trial};
use ptb_sandbox::Weakness::{self, *};
use ptb_sandbox::{Access, NoWall, WallSpec};
use std::any::Any;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt, symlink};

/// What is taken away for the counter-proof.
#[derive(Clone, Copy)]
enum Without {
    /// These protections alone.
    These(&'static [Weakness]),
    /// The whole wall: where an ordinary user cannot build a place with only one missing.
    Wall,
    /// Not possible for an ordinary user; root's run has the counter-proof.
    RootOnly,
}

/// Things that must live as long as an attempt.
type Keep = Vec<Box<dyn Any>>;
/// A change of the specification that an attempt needs.
type Change = Box<dyn Fn(&mut WallSpec)>;

/// What a preparation may use and change.
struct Stage<'a> {
    place: &'a Place,
    /// Where the workspace is for the attacker.
    task: &'a str,
    /// The attacker's arguments.
    args: Vec<String>,
    spec: Vec<Change>,
    keep: Keep,
}

impl Stage<'_> {
    fn args<S: Into<String>>(&mut self, args: impl IntoIterator<Item = S>) {
        self.args = args.into_iter().map(Into::into).collect();
    }

    fn keep(&mut self, thing: impl Any) {
        self.keep.push(Box::new(thing));
    }

    fn spec(&mut self, change: impl Fn(&mut WallSpec) + 'static) {
        self.spec.push(Box::new(change));
    }

    fn secret(&self) -> String {
        self.place.text("secret/mark.txt")
    }

    /// The directory `shown` of the place, read-only at `/opt/shown`.
    fn show(&mut self, access: Access) {
        let shown = self.place.at("shown");
        self.spec(move |spec| *spec = spec.clone().bind(&shown, "/opt/shown", access));
    }
}

struct Row {
    class: &'static str,
    name: &'static str,
    stage: fn(&mut Stage<'_>),
    root: Without,
    user: Without,
    /// Whether this kernel has what is attacked; if not, the attempt fails by itself.
    needs: fn() -> Result<(), String>,
}

fn always() -> Result<(), String> {
    Ok(())
}

/// A row whose counter-proof is the same for everybody.
const fn row(
    class: &'static str,
    name: &'static str,
    without: &'static [Weakness],
    stage: fn(&mut Stage<'_>),
) -> Row {
    let without = Without::These(without);
    Row { class, name, stage, root: without, user: without, needs: always }
}

impl Row {
    const fn for_user(mut self, user: Without) -> Self {
        self.user = user;
        self
    }

    /// What is taken away for whoever runs this, or why there is no counter-proof.
    fn counter_proof(&self) -> Result<Without, String> {
        (self.needs)()?;
        match if is_root() { self.root } else { self.user } {
            Without::RootOnly => Err("root's run has it".to_owned()),
            without => Ok(without),
        }
    }

    const fn needs(mut self, needs: fn() -> Result<(), String>) -> Self {
        self.needs = needs;
        self
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    let rows = rows();
    let proven: Vec<_> = rows.iter().filter(|row| row.counter_proof().is_ok()).collect();
    let classes: std::collections::BTreeSet<_> = proven.iter().map(|row| row.class).collect();
    let counts = (proven.len(), classes.len());
    let mut trials: Vec<_> = rows
        .into_iter()
        .map(|row| Trial::test(format!("{}: {}", row.class, row.name), move || attempt(&row)))
        .collect();
    let name = format!("{} attempts with counter-proof in {} classes", counts.0, counts.1);
    trials.push(Trial::test(name, move || {
        if counts.0 >= 30 && counts.1 >= 15 {
            Ok(())
        } else {
            Err("at least 30 attempts in 15 classes are asked for".into())
        }
    }));
    trials
}

fn attempt(row: &Row) -> Result<(), Failed> {
    let held = try_once(row, Some(&[]));
    if !held.held() {
        return Err(format!("behind the wall: {held:#?}").into());
    }
    let breached = match row.counter_proof() {
        Ok(Without::These(weaken)) => try_once(row, Some(weaken)),
        Ok(Without::Wall | Without::RootOnly) => try_once(row, None),
        Err(why) => {
            eprintln!("no counter-proof for {}: {}: {why}", row.class, row.name);
            return Ok(());
        }
    };
    if breached.breached() {
        Ok(())
    } else {
        Err(format!("without its protection the attempt should work: {breached:#?}").into())
    }
}

/// One try: behind the wall without some protections, or without any wall.
fn try_once(row: &Row, weaken: Option<&[Weakness]>) -> place::Outcome {
    let place = Place::new();
    let inside = weaken.is_some_and(|weaken| !weaken.contains(&HostRoot));
    let task = if inside { ptb_sandbox::TASK_DIR.to_owned() } else { place.text("workspace") };
    let mut stage =
        Stage { place: &place, task: &task, args: Vec::new(), spec: Vec::new(), keep: Vec::new() };
    (row.stage)(&mut stage);
    let Stage { args, spec: changes, keep, .. } = stage;
    let mut spec = place.attack(&args, weaken.unwrap_or(&[HostRoot]));
    changes.iter().for_each(|change| change(&mut spec));
    let outcome = match weaken {
        Some(_) => run_behind(spec),
        None => run(&NoWall::new(), spec),
    };
    drop(keep);
    outcome
}

fn rows() -> Vec<Row> {
    let mut rows = files();
    rows.extend(processes());
    rows.extend(channels());
    rows.extend(privileges());
    rows.extend(resources());
    if is_root() {
        rows.extend(for_root());
    }
    rows
}

fn files() -> Vec<Row> {
    vec![
        row("host files", "by their path", &[HostRoot], |s| {
            s.args(["read", &s.secret(), &s.place.mark]);
        }),
        row("host files", "through the root of PID 1", &[HostRoot, InitDumpable, SharePid], |s| {
            s.args(["read", &format!("/proc/init/root{}", s.secret()), &s.place.mark]);
        }),
        row("host files", "climbing above the root", &[HostRoot], |s| {
            let up = format!("/proc/self/cwd/{}{}", "../".repeat(40), s.secret());
            s.args(["read", &up, &s.place.mark]);
        }),
        row("host files", "a symlink in the workspace", &[HostRoot], |s| {
            symlink(s.secret(), s.place.at("workspace/link")).unwrap();
            s.args(["read", &format!("{}/link", s.task), &s.place.mark]);
        }),
        row("host files", "a symlink in the workspace to a directory", &[HostRoot], |s| {
            symlink(s.place.at("secret"), s.place.at("workspace/dir")).unwrap();
            s.args(["read", &format!("{}/dir/mark.txt", s.task), &s.place.mark]);
        }),
        row("host files", "a hard link into the workspace", &[HostRoot], |s| {
            let to = format!("{}/stolen", s.task);
            s.args(["hard-link", &s.secret(), &to, &s.place.mark]);
        }),
        row("host files", "by number", &[ShareUser, KeepCaps, NoSeccomp], |s| {
            let (kind, hex) = crate::life::handle_of(&s.place.at("secret/mark.txt"));
            s.args(["open-by-handle", s.task, &kind, &hex, &s.place.mark]);
        })
        .for_user(Without::RootOnly),
        row("device nodes", "making one", &[ShareUser, KeepCaps, NoSeccomp, DevNodes], |s| {
            s.args(["mknod", &format!("{}/device", s.task)]);
        })
        .for_user(Without::RootOnly),
        row("writing", "into a read-only bind", &[WritableBinds], |s| {
            s.show(Access::Read);
            s.args(["write", "/opt/shown/planted"]);
        }),
        row("writing", "over a program of the project", &[WritableBinds], |s| {
            s.place.write("shown/tool", "#!/bin/sh\n", 0o777);
            let tool = s.place.at("shown/tool");
            s.spec(move |spec| spec.programs.push(tool.clone()));
            s.args(["write", "/opt/ptb/bin/tool"]);
        }),
        row("writing", "users of the inside", &[WritableRoot], |s| {
            s.args(["write", "/etc/passwd"]);
        }),
        row("writing", "into the root", &[WritableRoot], |s| s.args(["write", "/planted"])),
        row("writing", "into /dev", &[WritableRoot], |s| s.args(["write", "/dev/planted"])),
    ]
}

/// What an ordinary user cannot even set up, so that there is nothing to hold against.
fn for_root() -> Vec<Row> {
    vec![
        row("device nodes", "using one that lies in a bind", &[DevNodes], |s| {
            crate::life::make_device(&s.place.at("shown/device"));
            s.show(Access::Write);
            s.args(["look", "/opt/shown/device"]);
        }),
        row(
            "setuid",
            "a planted program",
            &[ShareUser, AllowNewPrivs, NoSeccomp, SuidBinds],
            |s| {
                std::fs::copy(place::program(), s.place.at("shown/suid")).unwrap();
                let mode = PermissionsExt::from_mode(0o4755);
                std::fs::set_permissions(s.place.at("shown/suid"), mode).unwrap();
                s.show(Access::Read);
                s.args(["suid", "/opt/shown/suid"]);
            },
        ),
    ]
}

fn processes() -> Vec<Row> {
    let mut rows = of_others();
    rows.extend([
        row("descriptors", "an open file", &[KeepFds], |s| {
            let file = std::fs::File::open(s.place.at("secret/mark.txt")).unwrap();
            rustix::io::fcntl_setfd(file.as_fd(), rustix::io::FdFlags::empty()).unwrap();
            s.keep(file);
            s.args(["fd-read", &s.place.mark]);
        }),
        row("descriptors", "an open directory", &[KeepFds], |s| {
            let dir = std::fs::File::open(s.place.at("secret")).unwrap();
            rustix::io::fcntl_setfd(dir.as_fd(), rustix::io::FdFlags::empty()).unwrap();
            s.keep(dir);
            s.args(["fd-openat", &s.place.mark]);
        }),
        row("descriptors", "those of PID 1", &[InitDumpable], |s| {
            s.args(["look", "/proc/init/fd"])
        }),
        row("ptrace", "PID 1", &[InitDumpable], |s| s.args(["seize", "init"])),
        row("ptrace", "a process outside", &[SharePid, ShareUser], |s| {
            let victim = Victim::new(&s.place.mark);
            s.args(["seize".to_owned(), victim.pid()]);
            s.keep(victim);
        })
        .for_user(Without::Wall),
        row("ptrace", "the memory of PID 1, by file", &[InitDumpable], |s| {
            s.args(["look", "/proc/init/mem"]);
        }),
        row("ptrace", "the memory of PID 1, by call", &[InitDumpable, NoSeccomp], |s| {
            s.args(["vm-read", "init"]);
        }),
        row("ptrace", "a descriptor of PID 1", &[InitDumpable, NoSeccomp], |s| {
            s.args(["steal-fd", "init"]);
        }),
        row("signals", "to a process outside", &[SharePid], |s| {
            let victim = Victim::new(&s.place.mark);
            s.args(["kill".to_owned(), victim.pid()]);
            s.keep(victim);
        }),
        row("signals", "to a process outside, by descriptor", &[SharePid], |s| {
            let victim = Victim::new(&s.place.mark);
            s.args(["pidfd-kill".to_owned(), victim.pid()]);
            s.keep(victim);
        }),
        row("signals", "killing PID 1", &[SharePid], |s| s.args(["kill-parent"])),
        row("signals", "stopping PID 1", &[SharePid], |s| s.args(["stop-parent"])),
    ]);
    rows
}

fn of_others() -> Vec<Row> {
    vec![
        row("/proc of others", "their arguments", &[SharePid], |s| {
            s.keep(Victim::new(&s.place.mark));
            s.args(["cmdlines"]);
        }),
        row("/proc of others", "their environment", &[SharePid, ShareUser], |s| {
            s.keep(Victim::new(&s.place.mark));
            s.args(["environs", &format!("PTB_MARK={}", &s.place.mark[..5])]);
        })
        .for_user(Without::Wall),
        row("/proc of others", "the harness's environment", &[KeepEnv, InitDumpable], |s| {
            let (name, value) = std::env::vars().max_by_key(|(_, value)| value.len()).unwrap();
            s.args(["environs", &format!("{name}={value}")]);
        }),
        row("/proc of others", "the memory map of PID 1", &[InitDumpable], |s| {
            s.args(["look", "/proc/init/maps"]);
        }),
    ]
}

fn channels() -> Vec<Row> {
    use crate::life::{Greeter, abstract_name, other_address, outside_has_socket};
    vec![
        row("abstract sockets", "connecting", &[ShareNet], |s| {
            let name = abstract_name(&s.place.mark);
            s.keep(Greeter::unix(&name));
            s.args(["connect-unix", &name]);
        }),
        row("abstract sockets", "a datagram", &[ShareNet], |s| {
            let name = abstract_name(&s.place.mark);
            s.keep(Greeter::datagram(&name));
            s.args(["send-unix", &name]);
        }),
        row("container sockets", "by their path", &[HostRoot], |s| {
            s.keep(Greeter::unix(&s.place.text("secret/docker.sock")));
            s.place.allow("secret/docker.sock", 0o777);
            s.args(["connect-unix", &s.place.text("secret/docker.sock")]);
        }),
        row("container sockets", "through a symlink in the workspace", &[HostRoot], |s| {
            s.keep(Greeter::unix(&s.place.text("secret/docker.sock")));
            s.place.allow("secret/docker.sock", 0o777);
            symlink(s.place.at("secret/docker.sock"), s.place.at("workspace/sock")).unwrap();
            s.args(["connect-unix", &format!("{}/sock", s.task)]);
        }),
        row("container sockets", "a datagram, as to a log daemon", &[HostRoot], |s| {
            s.keep(Greeter::datagram(&s.place.text("secret/log")));
            s.place.allow("secret/log", 0o777);
            s.args(["send-unix", &s.place.text("secret/log")]);
        }),
        row("network", "TCP to the host's loopback", &[ShareNet], |s| {
            let greeter = Greeter::tcp("127.0.0.1:0");
            s.args(["connect-tcp", &greeter.address]);
            s.keep(greeter);
        }),
        row("network", "TCP over IPv6", &[ShareNet], |s| {
            let greeter = Greeter::tcp("[::1]:0");
            s.args(["connect-tcp", &greeter.address]);
            s.keep(greeter);
        })
        .needs(|| std::net::TcpListener::bind("[::1]:0").map(drop).map_err(|e| e.to_string())),
        row("network", "TCP to the host's own address", &[ShareNet], |s| {
            let greeter = Greeter::tcp(&format!("{}:0", other_address().unwrap()));
            s.args(["connect-tcp", &greeter.address]);
            s.keep(greeter);
        })
        .needs(|| other_address().map(drop).ok_or_else(|| "only a loopback interface".to_owned())),
        row("network", "UDP to the host's loopback", &[ShareNet], |s| {
            let greeter = Greeter::udp("127.0.0.1:0");
            s.args(["send-udp", &greeter.address]);
            s.keep(greeter);
        }),
        row("network", "packets of any kind", &[KeepCaps, NoSeccomp], |s| {
            s.args(["socket", &libc::AF_PACKET.to_string(), &libc::SOCK_RAW.to_string()]);
        }),
        row("network", "sockets of virtual machines", &[NoSeccomp], |s| {
            s.args(["socket", &libc::AF_VSOCK.to_string(), &libc::SOCK_STREAM.to_string()]);
        })
        .needs(|| outside_has_socket(libc::AF_VSOCK)),
        row("network", "the kernel's cipher sockets", &[NoSeccomp], |s| {
            s.args(["socket", &libc::AF_ALG.to_string(), &libc::SOCK_SEQPACKET.to_string()]);
        })
        .needs(|| outside_has_socket(libc::AF_ALG)),
        row("shared memory", "a System V segment of the host", &[ShareIpc], |s| {
            let segment = crate::life::Segment::new(&s.place.mark);
            s.args(["shared-memory".to_owned(), segment.key.to_string(), s.place.mark.clone()]);
            s.keep(segment);
        }),
        row("terminals", "typing into one", &[NoSeccomp], |s| s.args(["tiocsti"]))
            .needs(|| sysctl("dev/tty/legacy_tiocsti", |value| value != "0")),
    ]
}

fn privileges() -> Vec<Row> {
    const MOUNTING: &[Weakness] = &[KeepCaps, NoSeccomp];
    vec![
        row("mounts", "read-write again", MOUNTING, |s| {
            s.show(Access::Read);
            s.args(["remount", "/opt/shown", "/opt/shown/planted"]);
        }),
        row("mounts", "read-write again, the new way", MOUNTING, |s| {
            s.show(Access::Read);
            s.args(["mount-setattr", "/opt/shown", "/opt/shown/planted"]);
        }),
        row("mounts", "over the system", MOUNTING, |s| s.args(["mount", "/usr"])),
        row("mounts", "taking a mask away", MOUNTING, |s| s.args(["unmount", "/proc/kmsg"])),
        row("mounts", "a file system", MOUNTING, |s| s.args(["fsopen"])),
        row("mounts", "another root", MOUNTING, |s| s.args(["chroot", s.task])),
        row("mounts", "moving the root", MOUNTING, |s| s.args(["pivot-root"])),
        row("host name", "changing it", &[KeepCaps], |s| s.args(["hostname"])),
        row("setuid", "becoming root by call", &[ShareUser, KeepCaps], |s| s.args(["setuid"]))
            .for_user(Without::RootOnly),
        row("keys", "adding one", &[NoSeccomp], |s| s.args(["add-key"])).needs(has_keys),
        row("keys", "finding the user's", &[NoSeccomp], |s| s.args(["keyring"])).needs(has_keys),
        row("keys", "reading the list", &[NoMask], |s| s.args(["look", "/proc/keys"]))
            .needs(has_keys),
        row("namespaces", "by unshare", &[NoSeccomp, AllowUserns], |s| s.args(["unshare-user"])),
        row("namespaces", "by clone", &[NoSeccomp, AllowUserns], |s| s.args(["clone-user"])),
        row("namespaces", "by clone3", &[NoSeccomp, AllowUserns], |s| s.args(["clone3-user"])),
        row("namespaces", "entering one", MOUNTING, |s| s.args(["setns"])),
        row("kernel surface", "io_uring", &[NoSeccomp], |s| s.args(["io-uring"]))
            .needs(|| sysctl("kernel/io_uring_disabled", |value| value == "0")),
        row("kernel surface", "userfaultfd", &[NoSeccomp], |s| s.args(["userfaultfd"])),
        row("kernel surface", "personality", &[NoSeccomp], |s| s.args(["personality"])),
        row("kernel surface", "performance counters", &[NoSeccomp], |s| s.args(["perf"])).needs(
            || {
                sysctl("kernel/perf_event_paranoid", |value| {
                    matches!(value, "-1" | "0" | "1" | "2")
                })
            },
        ),
        row("kernel surface", "the kernel's log", &[ShareUser, KeepCaps, NoSeccomp], |s| {
            s.args(["syslog"]);
        })
        .for_user(Without::RootOnly),
        row("kernel surface", "32-bit calls", &[NoSeccomp], |s| s.args(["int80"])).needs(|| {
            if cfg!(target_arch = "x86_64") { Ok(()) } else { Err("another processor".to_owned()) }
        }),
    ]
}

fn has_keys() -> Result<(), String> {
    let there = std::path::Path::new("/proc/keys").exists();
    if there { Ok(()) } else { Err("a kernel without keyrings".to_owned()) }
}

/// Whether a setting of the kernel lets the attempt be made at all. A missing one forbids nothing.
fn sysctl(name: &str, allows: fn(&str) -> bool) -> Result<(), String> {
    match std::fs::read_to_string(format!("/proc/sys/{name}")) {
        Ok(value) if !allows(value.trim()) => Err(format!("{name} is {}", value.trim())),
        _ => Ok(()),
    }
}

fn resources() -> Vec<Row> {
    const MORE: &str = "4194304";
    vec![
        row("fork bomb", "processes", &[NoProcessLimit], |s| {
            s.spec(|spec| spec.limits.processes = 60);
            s.args(["forks", "200"]);
        }),
        row("fork bomb", "threads", &[NoProcessLimit], |s| {
            s.spec(|spec| spec.limits.processes = 60);
            s.args(["threads", "200"]);
        }),
        row("filling", "/tmp", &[NoTmpSize], |s| s.args(["fill", "/tmp", MORE])),
        row("filling", "home", &[NoTmpSize], |s| s.args(["fill", "/home/agent", MORE])),
        row("filling", "/dev/shm", &[NoTmpSize], |s| s.args(["fill", "/dev/shm", MORE])),
        row("filling", "/tmp with empty files", &[NoTmpSize], |s| {
            s.args(["inodes", "/tmp", "3000"])
        }),
        row("filling", "one big file", &[NoFileLimit], |s| {
            s.spec(|spec| spec.limits.file_bytes = Some(1 << 20));
            s.args(["big-file", &format!("{}/big", s.task), MORE]);
        }),
    ]
}
