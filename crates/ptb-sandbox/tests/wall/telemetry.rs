//! What a command uses, measured from outside and compared with what it says itself.

use crate::place::{Place, finish, program, runtime};
use libtest_mimic::{Failed, Trial};
use ptb_sandbox::telemetry::{Processes, Sample, Sampler};
use ptb_sandbox::{Namespaces, NoWall, Running, Wall};
use std::time::Duration;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for name in ["namespaces", "none"] {
        let named = |what: &str| format!("telemetry ({name}): {what}");
        trials.push(Trial::test(named("short-lived processes are counted"), move || brief(name)));
        trials.push(Trial::test(named("one that waits uses nothing"), move || waiting(name)));
        trials.push(Trial::test(named("names are harmless, writes counted"), move || busy(name)));
        trials.push(Trial::test(named("ends that nobody takes"), move || untaken(name)));
    }
    trials
}

fn wall(name: &str) -> Box<dyn Wall> {
    match name {
        "none" => Box::new(NoWall::with_helper(program())),
        _ => Box::new(Namespaces::with_helper(program())),
    }
}

/// Runs a script and samples it every quarter of a second, to its end.
fn sampled(name: &str, script: &str) -> (Vec<Sample>, String) {
    let place = Place::new();
    let mut spec = place.spec(["bash", "-c", script]);
    spec.sizes.tmp = 64 << 20;
    runtime().block_on(async {
        let mut running: Running = wall(name).launch(spec).unwrap();
        running.started().await.unwrap();
        let mut sampler = Sampler::new(running.helper_pid().unwrap(), &place.at("workspace"));
        let mut samples = Vec::new();
        let mut finishing = std::pin::pin!(finish(running));
        loop {
            tokio::select! {
                outcome = &mut finishing => break (samples, outcome.stdout),
                () = tokio::time::sleep(Duration::from_millis(250)) => samples.push(sampler.sample(None)),
            }
        }
    })
}

fn sum(samples: &[Sample], of: impl Fn(&Processes) -> f64) -> f64 {
    samples.iter().map(|sample| of(&sample.processes)).sum()
}

/// Works a little in a process of its own.
const BURN: &str = "burn() { local i; for ((i = 0; i < 20000; i++)); do :; done; }; ";

/// A hundred processes that come and go between samples: the shell's own account (`times`) is the measure.
fn brief(name: &str) -> Result<(), Failed> {
    let script =
        format!("{BURN} for n in {{1..50}}; do (burn; (burn)); done; times; exec >&-; sleep 1");
    let (samples, printed) = sampled(name, &script);
    // Two lines of `0m1.234s 0m0.100s`: the shell's, its children's.
    let seconds = |word: &str| {
        let (minutes, rest) = word.split_once('m').unwrap();
        let rest: f64 = rest.trim_end_matches('s').parse().unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + rest
    };
    let told: f64 = printed.split_whitespace().map(seconds).sum();
    let seen = sum(&samples, |p| p.cpu_seconds);
    assert!(told > 0.5, "it worked too little to be measured: {printed}");
    assert!((seen - told).abs() < 0.1 + told * 0.05, "{seen} s seen, {told} s told");
    assert!(samples.iter().all(|s| s.processes.cpu_seconds >= 0.0));
    Ok(())
}

fn waiting(name: &str) -> Result<(), Failed> {
    let (samples, _) = sampled(name, "sleep 2 & sleep 2; wait");
    assert!(samples.len() >= 4, "{samples:?}");
    let first = &samples[0].processes;
    // PID 1 of the inside, where there is one, the shell and two others.
    let expected = if name == "none" { 3 } else { 4 };
    assert_eq!((first.count, first.new), (expected, expected), "{first:?}");
    assert!(first.threads >= expected && first.resident > 1 << 20);
    let proportional = samples.iter().filter_map(|s| s.processes.proportional).max().unwrap();
    assert!(proportional > 0 && proportional < first.resident, "{proportional} of {first:?}");
    for sample in &samples[1..samples.len() - 1] {
        let p = &sample.processes;
        assert!(p.new == 0 && p.cpu_seconds <= 0.01 && p.written_bytes == 0, "{p:?}");
        assert!(sample.machine.busy.is_some_and(|share| (0.0..=1.0).contains(&share)));
    }
    Ok(())
}

fn busy(name: &str) -> Result<(), Failed> {
    let script = "dd if=/dev/zero of=big bs=1M count=8 conv=fsync 2>/dev/null; \
                  name=$'\\e[2J) R 1 1'; cp /bin/bash \"$name\"; \
                  \"./$name\" -c 'while [ $SECONDS -lt 2 ]; do :; done'; sleep 0.5";
    let (samples, _) = sampled(name, script);
    let names: Vec<&str> =
        samples.iter().flat_map(|s| &s.processes.busiest).map(|b| b.name.as_str()).collect();
    assert!(names.iter().any(|n| n.ends_with("[2J) R 1 1")), "{names:?}");
    assert!(names.iter().all(|n| !n.contains(char::is_control)), "{names:?}");
    let most = samples.iter().map(|s| s.processes.cpu_cores).fold(0.0, f64::max);
    assert!(most > 0.0 && most < 1.3, "one process on one core: {most}");
    let written = sum(&samples, |p| p.written_bytes as f64);
    let in_memory =
        rustix::fs::statfs(std::env::temp_dir().as_path()).unwrap().f_type == 0x0102_1994;
    assert!(in_memory || written >= f64::from(8 << 20), "{written} bytes written");
    Ok(())
}

/// A parent that ignores the ends of its children: what they used is forgotten by the kernel, and never subtracted.
fn untaken(name: &str) -> Result<(), Failed> {
    let script = "exec perl -e '$SIG{CHLD} = q(IGNORE); my $end = time + 3; \
                  while (time < $end) { if (!fork) { my $i = 0; $i++ while $i < 2000000; exit } \
                  my $j = 0; $j++ while $j < 200000; select undef, undef, undef, 0.1 }'";
    let (samples, _) = sampled(name, script);
    assert!(samples.len() >= 6, "{samples:?}");
    assert!(samples.iter().all(|s| s.processes.cpu_seconds >= 0.0), "{samples:?}");
    assert!(samples.iter().all(|s| s.processes.cpu_cores < 64.0), "{samples:?}");
    assert!(sum(&samples, |p| p.cpu_seconds) > 0.1, "{samples:?}");
    Ok(())
}
