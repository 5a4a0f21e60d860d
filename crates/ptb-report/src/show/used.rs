//! What an attempt used of its machine, in two or three lines.

use ptb_core::run::{GpuSummary, Telemetry};

use crate::text::{clock, count};

/// GPUs that have a line of their own.
const MOST: usize = 1;

/// The lines; none where nothing was sampled. `gpus` is how many the run has.
pub(super) fn lines(t: &Telemetry, gpus: u32) -> Vec<String> {
    if t.samples == 0 {
        return t.fault.iter().map(|fault| format!("not on record: {fault}")).collect();
    }
    let memory = match t.peak_proportional {
        Some(bytes) => format!("{} of memory at most", size(bytes)),
        None => format!("{} resident at most", size(t.peak_resident)),
    };
    let processes = format!(
        "{:.1} cores (most {:.1}), {memory}, {} written, {} at most, nothing happened for {}",
        t.cpu_cores.mean,
        t.cpu_cores.max,
        size(t.disk_written),
        processes_words(t.most_processes),
        clock(t.idle_seconds)
    );
    let shown = t.gpus.iter().flatten().take(MOST).map(gpu);
    let known = t.gpus.as_ref().map_or(0, Vec::len);
    let rest = (known > MOST).then(|| {
        let all = known as f64 * t.seconds / 3600.0;
        format!("{} in all, {:.2} of {all:.2} GPU hours used", count(known, "GPU"), t.gpu_hours)
    });
    // Whoever has no GPU misses none.
    let absent =
        t.gpus_absent.iter().filter(|_| gpus > 0).map(|why| format!("no look at GPUs: {why}"));
    std::iter::once(processes).chain(shown).chain(rest).chain(absent).collect()
}

fn processes_words(n: u64) -> String {
    if n == 1 { "1 process".to_owned() } else { format!("{n} processes") }
}

fn gpu(g: &GpuSummary) -> String {
    let foreign = match g.foreign_seconds > 0.0 {
        true => format!(", others on it for {}", clock(g.foreign_seconds)),
        false => String::new(),
    };
    let errors = match g.uncorrected_errors.unwrap_or(0) {
        0 => String::new(),
        n => format!(", {}", count(n as usize, "uncorrected error")),
    };
    format!(
        "GPU {} ({}) {:.0} % busy (most {:.0} %), {} at most, {:.0} W, throttled for {}{foreign}{errors}",
        g.minor,
        g.name,
        g.utilisation.mean * 100.0,
        g.utilisation.max * 100.0,
        size(g.memory_used.max as u64),
        g.power.mean,
        clock(g.throttled_seconds)
    )
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_core::run::Spread;

    #[test]
    fn sizes_are_short() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (80 << 30, "80.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_run_with_gpus_is_told_in_three_lines() {
        let gpu = GpuSummary {
            name: "NVIDIA H100".to_owned(),
            utilisation: Spread { mean: 0.834, max: 1.0 },
            memory_used: Spread { mean: 1e10, max: 7.5e10 },
            power: Spread { mean: 512.3, max: 700.0 },
            throttled_seconds: 61.0,
            foreign_seconds: 10.0,
            uncorrected_errors: Some(2),
            ..GpuSummary::default()
        };
        let t = Telemetry {
            seconds: 7200.0,
            samples: 720,
            cpu_cores: Spread { mean: 1.72, max: 8.2 },
            most_processes: 1,
            peak_resident: 13 << 30,
            disk_written: 45 << 30,
            idle_seconds: 754.0,
            gpus: Some(vec![gpu.clone(), gpu]),
            gpu_hours: 3.336,
            ..Telemetry::default()
        };
        assert_eq!(
            lines(&t, 2),
            [
                "1.7 cores (most 8.2), 13.0 GiB resident at most, 45.0 GiB written, 1 process at most, nothing happened for 12:34",
                "GPU 0 (NVIDIA H100) 83 % busy (most 100 %), 69.8 GiB at most, 512 W, throttled for 1:01, others on it for 0:10, 2 uncorrected errors",
                "2 GPUs in all, 3.34 of 4.00 GPU hours used",
            ]
        );
        let none = Telemetry { gpus: None, peak_proportional: Some(1 << 20), ..t.clone() };
        assert!(lines(&none, 1)[0].contains(", 1.0 MiB of memory at most, "));
        let absent = Telemetry { gpus_absent: Some("no library".to_owned()), ..none };
        assert_eq!(lines(&absent, 1)[1], "no look at GPUs: no library");
        assert_eq!(lines(&absent, 0).len(), 1);
        assert!(lines(&Telemetry::default(), 1).is_empty());
    }
}
