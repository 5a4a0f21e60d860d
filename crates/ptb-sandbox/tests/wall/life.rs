//! What ends and what must not survive, the other side of some attempts, and the parts that this
//! program plays in child processes.
#![expect(unsafe_code, reason = "set-up by raw system calls")]

use crate::place::{self, LIMIT, Place, finish, run_behind, runtime};
use libtest_mimic::{Failed, Trial};
use ptb_sandbox::Weakness::{self, *};
use ptb_sandbox::{EndReason, Namespaces, NoWall, Stdin, Wall, WallSpec};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Parts that this program plays when it is started with `role`.
pub(crate) fn role(args: &[String]) -> ExitCode {
    match args.first().map(String::as_str) {
        Some("victim") => victim(),
        Some("harness") => harness(&args[1..]),
        Some("terminal") => terminal(&args[1..]),
        Some("probe") => probe(),
        _ => ExitCode::FAILURE,
    }
}

/// Somebody outside, until its standard input ends.
fn victim() -> ExitCode {
    let _ = rustix::process::set_ptracer(rustix::process::PTracer::Any);
    // SAFETY: an ignored signal has no handler. The signal is what attempts send.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
    let _ = std::io::stdout().write_all(b".");
    let _ = std::io::stdout().flush();
    let _ = std::io::stdin().read(&mut [0; 1]);
    ExitCode::SUCCESS
}

/// `harness WEAKNESSES SPEC`: launches, tells the helper's pid, waits.
fn harness(args: &[String]) -> ExitCode {
    let weaken: Vec<Weakness> = serde_json::from_str(&args[0]).unwrap();
    let mut spec: WallSpec = serde_json::from_str(&args[1]).unwrap();
    spec.weaken = weaken.into_iter().collect();
    runtime().block_on(async {
        let mut running = Namespaces::new().launch(spec).unwrap();
        running.started().await.unwrap();
        println!("{}", running.helper_pid().unwrap_or_default());
        let outcome = finish(running).await;
        println!("{}", outcome.stdout);
    });
    ExitCode::SUCCESS
}

/// `terminal WEAKNESSES SPEC`: a harness in a session with a terminal.
fn terminal(args: &[String]) -> ExitCode {
    rustix::process::setsid().unwrap();
    let leader = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
    rustix::pty::unlockpt(&leader).unwrap();
    let name = rustix::pty::ptsname(&leader, Vec::new()).unwrap();
    let follower = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap());
    let follower = follower.unwrap();
    rustix::process::ioctl_tiocsctty(&follower).unwrap();
    harness(args)
}

/// Tells what a probe tells.
fn probe() -> ExitCode {
    match Namespaces::new().probe() {
        Ok(report) => println!("whole: {}", report.is_whole()),
        Err(error) => println!("{error}"),
    }
    ExitCode::SUCCESS
}

/// Starts a role with a specification.
fn start_role(name: &str, spec: &WallSpec, weaken: &[Weakness]) -> Child {
    Command::new(place::program())
        .args(["role", name, &serde_json::to_string(weaken).unwrap()])
        .arg(serde_json::to_string(spec).unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("terminals: the harness's own", own_terminal),
        Trial::test("writing: into a mount below a read-only bind", submount),
        Trial::test("survival: the harness is killed", || {
            orphaned(|child, _| child.kill().unwrap(), &[NoLifeline])
        }),
        Trial::test("survival: the helper is killed", || orphaned(kill_helper, &[NoDeathSignal])),
        Trial::test("ending: exit codes, signals and reasons", reasons),
        Trial::test("ending: a dropped command is killed", dropped),
        Trial::test("ending: cancelled with and without patience", cancelled),
        Trial::test("ending: without a wall, the tree ends too", without_wall),
        Trial::test("refusals: the kernel's setting is named", forbidden),
        Trial::test("refusals: told before or at the start", refusals),
    ];
    for kind in ["stubborn", "daemon", "stopped", "hydra"] {
        trials.push(Trial::test(format!("survival: {kind}"), move || survival(kind)));
    }
    trials
}

/// A survivor that outlives its run without a PID namespace, and does not with one.
fn survival(kind: &str) -> Result<(), Failed> {
    let survives = |weaken: &[Weakness]| {
        let place = Place::new();
        let args = ["survive", kind, "lock", "8"].map(str::to_owned);
        let mut spec = place.attack(&args, weaken);
        spec.deadline = Some(Duration::from_millis(400));
        spec.grace = Duration::from_millis(300);
        let outcome = run_behind(spec);
        let lives = is_locked(&place.at("workspace/lock"));
        (lives, outcome)
    };
    let (lives, outcome) = survives(&[]);
    let expected = kind != "stubborn" || outcome.ended.reason == EndReason::Deadline;
    if lives || !expected {
        return Err(format!("behind the wall it lives: {lives}, {outcome:#?}").into());
    }
    match survives(&[SharePid]) {
        (true, _) => Ok(()),
        (false, outcome) => Err(format!("nothing survived without the wall: {outcome:#?}").into()),
    }
}

/// Whether somebody alive holds the lock. The file must exist: else nobody ever set out.
fn is_locked(path: &Path) -> bool {
    let file = std::fs::File::open(path).expect("the attempt set out");
    // SAFETY: an open descriptor.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) != 0 }
}

/// Waits until nobody holds the lock. True if that happens within three seconds.
fn is_released(path: &Path) -> bool {
    let end = Instant::now() + Duration::from_secs(3);
    while is_locked(path) {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// The command of a killed harness or helper is gone, unless the protection is.
fn orphaned(blow: fn(&mut Child, u32), without: &[Weakness]) -> Result<(), Failed> {
    let gone = |weaken: &[Weakness]| {
        let place = Place::new();
        let args = ["survive", "stubborn", "lock", "8"].map(str::to_owned);
        let spec = place.attack(&args, &[]);
        let mut child = start_role("harness", &spec, weaken);
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let lock = place.at("workspace/lock");
        let end = Instant::now() + LIMIT;
        while !(lock.exists() && is_locked(&lock)) {
            assert!(Instant::now() < end, "the attempt sets out");
            std::thread::sleep(Duration::from_millis(5));
        }
        blow(&mut child, line.trim().parse().unwrap());
        let gone = is_released(&lock);
        let _ = child.kill();
        let _ = child.wait();
        gone
    };
    match (gone(&[]), gone(without)) {
        (true, false) => Ok(()),
        outcome => Err(format!("gone with and without the protection: {outcome:?}").into()),
    }
}

fn kill_helper(_: &mut Child, helper: u32) {
    let pid = rustix::process::Pid::from_raw(helper as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn own_terminal() -> Result<(), Failed> {
    let try_once = |weaken: &[Weakness]| {
        let place = Place::new();
        let spec = place.attack(&["tty".to_owned()], &[]);
        let output = start_role("terminal", &spec, weaken).wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (with, without) = (try_once(&[]), try_once(&[KeepSession]));
    if with.contains("HELD") && without.contains("BREACH") {
        Ok(())
    } else {
        Err(format!("behind the wall: {with}; without: {without}").into())
    }
}

/// A mount below a bind's source, made in a mount namespace of the harness's own. Root's business: an
/// ordinary user who could make one would be root of a user namespace.
fn submount() -> Result<(), Failed> {
    if !place::is_root() {
        return Ok(());
    }
    let try_once = |weaken: &[Weakness]| {
        let place = Place::new();
        std::fs::create_dir(place.at("shown/below")).unwrap();
        let args = ["write", "/opt/shown/below/planted"].map(str::to_owned);
        let spec = place.attack(&args, &[]).bind_read(place.at("shown"), "/opt/shown");
        let script = "mount -t tmpfs -o mode=777 none \"$1\" && shift && exec \"$@\"";
        let output = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", script, "sh", &place.text("shown/below")])
            .arg(place::program())
            .args(["role", "harness", &serde_json::to_string(weaken).unwrap()])
            .arg(serde_json::to_string(&spec).unwrap())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (with, without) = (try_once(&[]), try_once(&[ShallowReadOnly]));
    if with.contains("HELD") && without.contains("BREACH") {
        Ok(())
    } else {
        Err(format!("behind the wall: {with}; without: {without}").into())
    }
}

fn reasons() -> Result<(), Failed> {
    for (script, reason, code) in [
        ("exit 0", EndReason::Exited(0), Some(0)),
        ("exit 7", EndReason::Exited(7), Some(7)),
        ("kill -9 $$", EndReason::Signaled(9), None),
        ("trap 'exit 5' TERM; sleep 20 & wait", EndReason::Deadline, Some(5)),
        ("sleep 20", EndReason::Deadline, None),
    ] {
        let place = Place::new();
        let mut spec = place.spec(["sh", "-c", script]);
        if reason == EndReason::Deadline {
            spec.deadline = Some(Duration::from_millis(300));
        }
        let ended = run_behind(spec).ended;
        assert_eq!((&ended.reason, ended.code, ended.killed), (&reason, code, false), "{script}");
    }
    Ok(())
}

fn dropped() -> Result<(), Failed> {
    let place = Place::new();
    let spec = place.attack(&["survive", "stubborn", "lock", "8"].map(str::to_owned), &[]);
    runtime().block_on(async {
        let mut running = Namespaces::new().launch(spec).unwrap();
        running.started().await.unwrap();
        while !place.at("workspace/lock").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(is_released(&place.at("workspace/lock")));
    Ok(())
}

fn cancelled() -> Result<(), Failed> {
    for (patient, code) in [(true, Some(6)), (false, None)] {
        let place = Place::new();
        let mut spec = place.spec(["sh", "-c", "trap 'exit 6' TERM; echo ready; sleep 20 & wait"]);
        spec.grace = Duration::from_secs(10);
        let ended = runtime().block_on(async {
            let mut running = Namespaces::new().launch(spec).unwrap();
            let mut stdout = running.stdout.take().unwrap();
            tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut [0; 5]).await.unwrap();
            let canceller = running.canceller();
            if patient {
                canceller.cancel();
            } else {
                canceller.kill();
            }
            running.wait().await
        });
        assert_eq!(ended.reason, EndReason::Cancelled);
        assert_eq!((ended.code, ended.killed), (code, !patient));
    }
    Ok(())
}

fn without_wall() -> Result<(), Failed> {
    for kind in ["stubborn", "daemon", "stopped", "hydra"] {
        let place = Place::new();
        let args = ["survive", kind, "lock", "8"].map(str::to_owned);
        let mut spec = place.attack(&args, &[HostRoot]);
        spec.weaken.clear();
        spec.deadline = Some(Duration::from_millis(400));
        spec.grace = Duration::from_millis(300);
        let outcome = place::run(&NoWall::new(), spec);
        assert!(!is_locked(&place.at("workspace/lock")), "{kind}: {outcome:?}");
        let deadline = outcome.ended.reason == EndReason::Deadline;
        assert_eq!(deadline, kind == "stubborn", "{outcome:?}");
    }
    Ok(())
}

fn refusals() -> Result<(), Failed> {
    let place = Place::new();
    let setup = |spec: WallSpec| match run_behind(spec).ended.reason {
        EndReason::SetupFailed(text) => text,
        other => panic!("{other:?}"),
    };
    let text = setup(place.spec(["no-such-program"]));
    assert!(text.starts_with("executing \"no-such-program\": No such file"), "{text}");
    assert!(text.contains("\nhint: "), "{text}");
    let text = setup(place.spec(["true"]).bind_read(place.at("nowhere"), "/opt/x"));
    assert!(text.contains("nowhere at /opt/x: No such file"), "{text}");
    let mut spec = place.spec(["true"]);
    spec.stdin = Stdin::File(place.at("nowhere"));
    assert!(setup(spec).starts_with("opening the standard input"));
    let mut spec = place.spec(["true"]).bind_read(place.at("shown"), "/opt/x");
    spec.secrets.push(place.at(""));
    let error = runtime().block_on(async { Namespaces::new().launch(spec).unwrap_err() });
    assert!(error.to_string().contains("which must stay outside\nhint: "), "{error}");
    let wrong = Namespaces::with_helper("/usr/bin/true");
    let error = wrong.probe().unwrap_err().to_string();
    assert!(error.contains("enter_if_helper"), "{error}");
    Ok(())
}

/// A user namespace in which the setting is zero stands for a machine where it is.
fn forbidden() -> Result<(), Failed> {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" role probe";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", script])
        .arg(place::program())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let named = text
        .contains("the setting user.max_user_namespaces = 0 forbids it\nhint: as root: sysctl -w");
    if named { Ok(()) } else { Err(format!("{output:?}").into()) }
}

/// The kernel's number of a file, as type and hexadecimal bytes.
pub(crate) fn handle_of(path: &Path) -> (String, String) {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let mut handle = vec![0u8; 8 + 128];
    handle[..4].copy_from_slice(&128u32.to_ne_bytes());
    let mut mount = 0i32;
    // SAFETY: the buffer begins with the number of bytes that follow the head.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            handle.as_mut_ptr(),
            &raw mut mount,
            0,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    let number = |at: usize| u32::from_ne_bytes(handle[at..at + 4].try_into().unwrap());
    let bytes = &handle[8..8 + number(0) as usize];
    (number(4).to_string(), bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The node of the random numbers' device, open to all.
pub(crate) fn make_device(path: &Path) {
    let text = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated path.
    let made = unsafe { libc::mknod(text.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 9)) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
}

pub(crate) fn abstract_name(mark: &str) -> String {
    format!("@ptb-{mark}")
}

/// An address of this machine that is not its loopback. Connecting a datagram socket sends nothing.
pub(crate) fn other_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

/// Whether the kernel has a family of sockets at all.
pub(crate) fn outside_has_socket(family: i32) -> Result<(), String> {
    let kind = if family == libc::AF_ALG { libc::SOCK_SEQPACKET } else { libc::SOCK_STREAM };
    // SAFETY: plain numbers; the descriptor is closed at once.
    unsafe {
        let fd = libc::socket(family, kind | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(format!("family {family}: {}", std::io::Error::last_os_error()));
        }
        libc::close(fd);
    }
    Ok(())
}

/// Somebody outside who greets whoever comes. Its thread ends with the test program.
pub(crate) struct Greeter {
    pub(crate) address: String,
}

impl Greeter {
    pub(crate) fn unix(name: &str) -> Self {
        let listener = UnixListener::bind_addr(&crate::attack::address(name).unwrap()).unwrap();
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|mut stream| drop(stream.write_all(b"hello")));
        });
        Self { address: name.to_owned() }
    }

    pub(crate) fn datagram(name: &str) -> Self {
        let socket = UnixDatagram::bind_addr(&crate::attack::address(name).unwrap()).unwrap();
        std::thread::spawn(move || while socket.recv(&mut [0; 16]).is_ok() {});
        Self { address: name.to_owned() }
    }

    pub(crate) fn tcp(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|mut stream| drop(stream.write_all(b"hello")));
        });
        Self { address }
    }

    pub(crate) fn udp(address: &str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 16]) {
                let _ = socket.send_to(b"hello", from);
            }
        });
        Self { address }
    }
}

/// A System V segment of the host that holds a mark, open to all.
pub(crate) struct Segment {
    pub(crate) key: i32,
    id: i32,
}

impl Segment {
    pub(crate) fn new(mark: &str) -> Self {
        let key =
            mark.bytes().fold(7i32, |key, byte| key.wrapping_mul(31).wrapping_add(byte.into()));
        // SAFETY: the segment has a page, far more than a mark.
        let id = unsafe {
            let id = libc::shmget(key, 4096, libc::IPC_CREAT | 0o666);
            assert!(id >= 0, "{}", std::io::Error::last_os_error());
            let memory = libc::shmat(id, std::ptr::null(), 0);
            assert_ne!(memory as isize, -1);
            std::ptr::copy_nonoverlapping(mark.as_ptr(), memory.cast(), mark.len());
            libc::shmdt(memory);
            id
        };
        Self { key, id }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: the segment is this test's own.
        unsafe { libc::shmctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}
