//! What agents do all day, and must be able to do behind the wall.

use crate::place::{Place, run_behind, runtime, skip};
use libtest_mimic::{Failed, Trial};
use ptb_sandbox::{EndReason, Namespaces, NoWall, Stdin, TASK_DIR, Wall, WallSpec, give_to_agent};
use std::path::Path;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<_> = scripts().into_iter().map(trial).collect();
    trials.extend([
        Trial::test("daily: fifty megabytes of output arrive", much_output),
        Trial::test("daily: standard input is a copy", standard_input),
        Trial::test("daily: the environment is as given, and nothing else", environment),
        Trial::test("daily: the door is reached", door),
        Trial::test("daily: work stays in the workspace", workspace),
        Trial::test("daily: secrets in the system's folders are covered", covered_secrets),
        Trial::test("daily: the probe promises everything", probe),
    ]);
    trials
}

/// A script that prints `done` when all went well, and the program that it needs.
struct Daily {
    name: &'static str,
    needs: &'static str,
    script: &'static str,
}

fn scripts() -> Vec<Daily> {
    let daily = |name, needs, script| Daily { name, needs, script };
    vec![
        daily("who and where", "/bin/sh", WHO),
        daily("a server on the loopback", "/usr/bin/python3", LOOPBACK),
        daily("a terminal of its own", "/usr/bin/python3", TERMINAL),
        daily("a virtual environment", "/usr/bin/python3", VENV),
        daily("processes, threads and shared memory of Python", "/usr/bin/python3", POOL),
        daily("git", "/usr/bin/git", GIT),
        daily("compiling C", "/usr/bin/cc", C),
        daily("tracing one's own child", "/usr/bin/strace", STRACE),
        daily("a hundred processes", "/bin/sh", HUNDRED),
        daily("a deep tree of processes", "/bin/sh", DEEP),
        daily("private places", "/bin/sh", PRIVATE),
        daily("time", "/bin/date", "test $(date +%s) -gt 1700000000 && echo done"),
        daily(
            "outputs by name",
            "/bin/sh",
            "echo d > /dev/stdout; printf one > /dev/stderr; echo done",
        ),
    ]
}

const WHO: &str = r#"
set -e
test "$(id -u):$(id -g)" = 1000:1000
test "$(id -un)" = agent
test "$HOME:$PWD" = /home/agent:/home/agent/task
test "$(hostname 2>/dev/null || cat /etc/hostname)" = ptb
test "$(umask)" = 0022
test -z "$(ls /sys 2>/dev/null)"
echo done"#;

const LOOPBACK: &str = r#"
python3 - <<'END'
import http.server, threading, urllib.request
server = http.server.HTTPServer(("localhost", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
with urllib.request.urlopen(f"http://localhost:{server.server_port}/") as answer:
    assert answer.status == 200
print("done")
END"#;

const TERMINAL: &str = r#"
python3 - <<'END'
import os, pty
out = b""
def read(fd):
    global out
    data = os.read(fd, 1024)
    out += data
    return data
status = pty.spawn(["sh", "-c", "test -t 0 && test -t 1 && tty && stty size"], read)
assert status == 0 and b"/dev/pts/" in out, (status, out)
print("done")
END"#;

const VENV: &str = r#"
set -e
python3 -m venv --without-pip env
. env/bin/activate
test "$(python -c 'import sys; print(sys.prefix)')" = "$PWD/env"
echo done"#;

const POOL: &str = r#"
cat > pool.py <<'END'
import multiprocessing, multiprocessing.shared_memory, concurrent.futures
def square(n): return n * n
if __name__ == "__main__":
    with multiprocessing.Pool(4) as pool:
        assert pool.map(square, range(50)) == [n * n for n in range(50)]
    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        assert sum(threads.map(square, range(50))) == 40425
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=4096)
    memory.close(); memory.unlink()
    print("done")
END
python3 pool.py"#;

const GIT: &str = r#"
set -e
git init -q repo && cd repo
git config user.name a && git config user.email a@b
echo x > file && git add file && git commit -qm first
git clone -q . ../clone
test "$(git -C ../clone log --format=%s)" = first
echo done"#;

const C: &str = r#"
set -e
printf '#include <stdio.h>\n#include <math.h>\nint main(void){printf("%%s\\n", sqrt(4.0) == 2.0 ? "done" : "bad");return 0;}' > a.c
cc a.c -o a -lm
./a"#;

const STRACE: &str = "strace -f -o log sh -c 'sh -c true' && grep -q execve log && echo done";

const HUNDRED: &str = r#"
i=0; all=; while [ $i -lt 100 ]; do sleep 5 & all="$all $!"; i=$((i+1)); done
test $(ls -d /proc/[0-9]* | wc -l) -gt 100 && kill $all && echo done"#;

const DEEP: &str = r#"
cat > deep.sh <<'END'
if [ $1 -gt 0 ]; then sh deep.sh $(($1 - 1)); else echo done; fi
END
sh deep.sh 60"#;

const PRIVATE: &str = r#"
set -e
for dir in /tmp /var/tmp /home/agent /dev/shm /run . ; do echo x > $dir/probe; rm $dir/probe; done
test "$(cat /dev/null)" = "" && head -c 8 /dev/urandom > /dev/null && head -c 8 /dev/zero > /dev/null
test -c /dev/tty && test -e /dev/ptmx && test -d /proc/self/fd
echo done"#;

fn trial(daily: Daily) -> Trial {
    Trial::test(format!("daily: {}", daily.name), move || {
        if !Path::new(daily.needs).exists() {
            return skip(&format!("{}: no {}", daily.name, daily.needs));
        }
        let place = Place::new();
        let mut spec = place.spec(["sh", "-c", daily.script]);
        spec.sizes.tmp = 64 << 20;
        let outcome = run_behind(spec);
        if outcome.stdout.trim_end().ends_with("done")
            && outcome.ended.reason == EndReason::Exited(0)
        {
            Ok(())
        } else {
            Err(format!("{outcome:#?}").into())
        }
    })
}

fn much_output() -> Result<(), Failed> {
    let place = Place::new();
    let outcome = run_behind(place.spec(["head", "-c", "52428800", "/dev/zero"]));
    assert_eq!(outcome.stdout.len(), 52_428_800);
    assert_eq!(outcome.ended.reason, EndReason::Exited(0));
    Ok(())
}

fn standard_input() -> Result<(), Failed> {
    let place = Place::new();
    place.write("prompt", "what to do", 0o666);
    let mut spec = place.spec(["sh", "-c", "echo lost >> /proc/self/fd/0; cat"]);
    spec.stdin = Stdin::File(place.at("prompt"));
    let outcome = run_behind(spec);
    assert_eq!(outcome.stdout, "what to do", "{outcome:?}");
    assert!(outcome.stderr.contains("echo"), "writing must fail: {outcome:?}");
    assert_eq!(std::fs::read_to_string(place.at("prompt"))?, "what to do");
    let none = run_behind(place.spec(["cat"]));
    assert_eq!((none.stdout.as_str(), none.ended.reason), ("", EndReason::Exited(0)));
    Ok(())
}

fn environment() -> Result<(), Failed> {
    for wall in [&Namespaces::new() as &dyn Wall, &NoWall::new()] {
        let place = Place::new();
        let mut spec = place.spec(["/usr/bin/env"]);
        spec.env = [("ONE".to_owned(), "1 2".to_owned()), ("TWO".to_owned(), String::new())].into();
        let outcome = crate::place::run(wall, spec);
        let mut lines: Vec<_> = outcome.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["ONE=1 2", "TWO="], "{}", wall.name());
    }
    Ok(())
}

fn door() -> Result<(), Failed> {
    let place = Place::new();
    std::fs::create_dir(place.at("door"))?;
    let _greeter = crate::life::Greeter::unix(&place.text("door/door.sock"));
    place.allow("door/door.sock", 0o666);
    let mut spec = place.attack(&["connect-unix", "/run/ptb/door.sock"].map(str::to_owned), &[]);
    spec.door = Some(place.at("door"));
    let inside = Namespaces::new().inside(&spec);
    assert_eq!(inside.door.as_deref(), Some(Path::new("/run/ptb/door.sock")));
    let outcome = run_behind(spec.clone());
    assert!(outcome.breached() && outcome.stdout.contains("hello"), "{outcome:?}");
    spec.command = ["sh", "-c", "rm -f /run/ptb/door.sock; mv /run/ptb /run/x; ls /run/ptb"]
        .map(str::to_owned)
        .into();
    assert_eq!(run_behind(spec).stdout, "door.sock\n");
    Ok(())
}

fn workspace() -> Result<(), Failed> {
    let place = Place::new();
    std::fs::write(place.at("workspace/given"), "given")?;
    let mut spec = place.spec(["sh", "-c", "cat given && mkdir made && echo made > made/file"]);
    give_to_agent(&spec.workspace, spec.identity)?;
    spec.secrets.push(place.at("secret"));
    assert_eq!(run_behind(spec).stdout, "given");
    assert_eq!(std::fs::read_to_string(place.at("workspace/made/file"))?, "made\n");
    let spec =
        WallSpec::new(place.at("workspace"), ["true"]).bind_read(place.at("shown"), "/opt/s");
    assert!(spec.exposes(&place.at("workspace/made")) && spec.exposes(&place.at("shown/x")));
    assert!(!spec.exposes(&place.at("secret")) && spec.exposes(Path::new("/usr/bin/env")));
    let there = Namespaces::new().inside(&spec).of_bind(&spec, &place.at("shown"));
    assert_eq!((there.as_deref(), TASK_DIR), (Some(Path::new("/opt/s")), "/home/agent/task"));
    Ok(())
}

/// What is shown because it lies in a folder of the system is covered where it is a secret.
fn covered_secrets() -> Result<(), Failed> {
    let (program, folder) = (Path::new("/usr/bin/env"), Path::new("/usr/share/doc"));
    let script = "head -c 4 /usr/bin/env | wc -c; cat /usr/bin/env | wc -c; ls -A /usr/share/doc | wc -l; \
                  umount /usr/bin/env 2>/dev/null; test -x /usr/bin/wc && echo rest";
    let place = Place::new();
    let mut spec = place.spec(["sh", "-c", script]);
    give_to_agent(&spec.workspace, spec.identity)?;
    assert!(run_behind(spec.clone()).stdout.starts_with("4\n"));
    spec.secrets = vec![program.to_owned(), folder.to_owned(), "/usr/share/not there".into()];
    assert_eq!(run_behind(spec).stdout, "0\n0\n0\nrest\n");
    Ok(())
}

fn probe() -> Result<(), Failed> {
    let report = Namespaces::new().probe()?;
    assert!(report.is_whole() && report.outside_uid != 0, "{report:?}");
    let bare = NoWall::new().probe()?;
    assert!(!bare.is_whole());
    assert_eq!(runtime().block_on(async { report.wall }), "namespaces");
    Ok(())
}
