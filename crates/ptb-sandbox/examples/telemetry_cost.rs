//! What telemetry costs: samples a command with many processes, and tells the processor time of a sample.
//!
//! `cargo run --release -p ptb-sandbox --example telemetry_cost -- DIR [PROCESSES [SAMPLES]]` with `DIR` as the
//! workspace.

use ptb_sandbox::telemetry::Sampler;
use ptb_sandbox::{Namespaces, Wall, WallSpec, enter_if_helper, give_to_agent};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

type Anything = Result<(), Box<dyn std::error::Error>>;

fn main() -> Anything {
    enter_if_helper();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dir = args.first().ok_or("usage: telemetry_cost DIR [PROCESSES [SAMPLES]]")?;
    let number = |n: usize, usual: u32| args.get(n).map_or(Ok(usual), |text| text.parse());
    let (processes, samples) = (number(1, 300)?, number(2, 50)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(PathBuf::from(dir).canonicalize()?, processes, samples))
}

async fn measure(dir: PathBuf, processes: u32, samples: u32) -> Anything {
    let script = format!("for i in $(seq {processes}); do sleep 600 & done; wait");
    let spec = WallSpec::new(&dir, ["bash", "-c", &script]);
    give_to_agent(&dir, spec.identity)?;
    let mut running = Namespaces::new().launch(spec)?;
    running.started().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut sampler = Sampler::new(running.helper_pid().ok_or("it has ended")?, &dir);
    let mut out = std::io::stderr();
    let first = (Instant::now(), cpu()?);
    let sample = sampler.sample(None);
    let count = sample.processes.count;
    writeln!(out, "{count} processes; the first sample, with proportional memory:")?;
    writeln!(out, "  {:?} of processor time, {:?} in all", cpu()? - first.1, first.0.elapsed())?;
    let (begin, before, mut asked) = (Instant::now(), cpu()?, 0);
    for _ in 0..samples {
        asked += u32::from(sampler.sample(None).processes.proportional.is_some());
    }
    let (used, passed) = (cpu()? - before, begin.elapsed());
    writeln!(out, "a mean of {samples} more ({asked} of them with proportional memory):")?;
    writeln!(out, "  {:?} of processor time, {:?} in all", used / samples, passed / samples)?;
    let share = used.as_secs_f64() / f64::from(samples) / 10.0 * 100.0;
    writeln!(out, "  every ten seconds: {share:.3} % of a core")?;
    running.cancel();
    running.wait().await;
    Ok(())
}

/// Processor time of this process so far.
fn cpu() -> Result<Duration, std::io::Error> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let number = |n: i64| u64::try_from(n).map_err(std::io::Error::other);
    Ok(Duration::from_secs(number(now.tv_sec)?) + Duration::from_nanos(number(now.tv_nsec)?))
}
