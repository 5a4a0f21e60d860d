//! GPUs, through NVIDIA's management library, which belongs to the driver and is loaded while the program runs.

use super::processes::Owners;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;

/// The library's name where only the driver is installed; without the number it comes with development files.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// Most processes of one GPU that are told.
const MOST: usize = 64;

/// One GPU at one time. What the driver does not tell of it is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its number, as in `/dev/nvidia<number>`.
    pub minor: u32,
    /// Share of the last moments (a sixth of a second to a second, by its kind) in which a kernel ran, 0 to 1.
    pub utilisation: Option<f64>,
    /// Memory in use, in bytes.
    pub memory_used: Option<u64>,
    /// Watts.
    pub power: Option<f64>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Clock of its processors, in MHz.
    pub sm_clock: Option<u32>,
    /// What holds its clocks down, in words (`sw-power-cap`, `hw-thermal-slowdown`).
    pub throttled: Vec<String>,
    /// Memory errors that were corrected, since the driver was loaded.
    pub corrected_errors: Option<u64>,
    /// Memory errors that were not.
    pub uncorrected_errors: Option<u64>,
    /// The processes on it.
    pub processes: Vec<GpuProcess>,
}

/// A process on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuProcess {
    /// Its number on the host.
    pub pid: u32,
    /// Memory that it holds, in bytes.
    pub memory: Option<u64>,
    /// Whose it is.
    pub whose: Whose,
}

/// Whose a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// The command's.
    Command,
    /// This program's: an engine that evaluates, or another command's.
    House,
    /// Somebody else's.
    Foreign,
}

/// What a GPU is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuName {
    /// Its number, as in `/dev/nvidia<number>`.
    pub minor: u32,
    /// The maker's name of it.
    pub name: String,
    /// Its own id.
    pub uuid: String,
    /// All its memory, in bytes.
    pub memory: u64,
}

impl Gpu {
    /// Bytes that the command's processes hold.
    #[must_use]
    pub fn command_memory(&self) -> u64 {
        let ours = self.processes.iter().filter(|p| p.whose == Whose::Command);
        ours.filter_map(|p| p.memory).sum()
    }

    /// Whether somebody else's process is on it.
    #[must_use]
    pub fn has_foreign(&self) -> bool {
        self.processes.iter().any(|p| p.whose == Whose::Foreign)
    }

    /// Whether power, heat or a brake holds its clocks down.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.throttled.iter().any(|word| SLOWED.contains(&word.as_str()))
    }
}

/// Why clocks are not at their highest, in words.
const REASONS: [(ThrottleReasons, &str); 9] = [
    (ThrottleReasons::GPU_IDLE, "gpu-idle"),
    (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "applications-clocks-setting"),
    (ThrottleReasons::SW_POWER_CAP, "sw-power-cap"),
    (ThrottleReasons::HW_SLOWDOWN, "hw-slowdown"),
    (ThrottleReasons::SYNC_BOOST, "sync-boost"),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "sw-thermal-slowdown"),
    (ThrottleReasons::HW_THERMAL_SLOWDOWN, "hw-thermal-slowdown"),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "hw-power-brake-slowdown"),
    (ThrottleReasons::DISPLAY_CLOCK_SETTING, "display-clock-setting"),
];
/// Of these, the ones that cost speed.
const SLOWED: [&str; 5] = [
    "sw-power-cap",
    "hw-slowdown",
    "sw-thermal-slowdown",
    "hw-thermal-slowdown",
    "hw-power-brake-slowdown",
];

/// Some of the machine's GPUs.
#[derive(Debug)]
pub struct Gpus {
    library: Nvml,
    /// The library's index of each, and what it is.
    found: Vec<(u32, GpuName)>,
}

impl Gpus {
    /// Loads the driver's library and finds the GPUs with these numbers (`/dev/nvidia<number>`). Blocks, for seconds
    /// where the driver sleeps.
    ///
    /// # Errors
    /// Why they cannot be looked at, in words.
    pub fn open(minors: &[u32]) -> Result<Self, String> {
        Self::open_from(LIBRARY, minors)
    }

    fn open_from(library: impl AsRef<OsStr>, minors: &[u32]) -> Result<Self, String> {
        let library = Nvml::builder().lib_path(library.as_ref()).init();
        let library = library.map_err(|e| format!("{LIBRARY} cannot be used: {e}"))?;
        let count = library.device_count().map_err(|e| format!("no GPU can be counted: {e}"))?;
        let mut found = Vec::new();
        for index in 0..count {
            let Ok(device) = library.device_by_index(index) else { continue };
            let minor = device.minor_number().unwrap_or(index);
            if minors.contains(&minor) {
                found.push((index, name(&device, minor)));
            }
        }
        match minors.iter().find(|minor| !found.iter().any(|(_, gpu)| gpu.minor == **minor)) {
            Some(missing) => Err(format!("the driver does not show /dev/nvidia{missing}")),
            None => Ok(Self { library, found }),
        }
    }

    /// What they are.
    pub fn names(&self) -> impl Iterator<Item = &GpuName> {
        self.found.iter().map(|(_, gpu)| gpu)
    }

    pub(super) fn look(&self, owners: &Owners) -> Vec<Gpu> {
        let gpu = |(index, name): &(u32, GpuName)| match self.library.device_by_index(*index) {
            Ok(device) => at_present(&device, name.minor, owners),
            Err(_) => unknown(name.minor),
        };
        self.found.iter().map(gpu).collect()
    }
}

fn name(device: &Device<'_>, minor: u32) -> GpuName {
    GpuName {
        minor,
        name: device.name().unwrap_or_default(),
        uuid: device.uuid().unwrap_or_default(),
        memory: device.memory_info().map_or(0, |memory| memory.total),
    }
}

/// A GPU that the driver does not show at the moment.
fn unknown(minor: u32) -> Gpu {
    Gpu {
        minor,
        utilisation: None,
        memory_used: None,
        power: None,
        temperature: None,
        sm_clock: None,
        throttled: Vec::new(),
        corrected_errors: None,
        uncorrected_errors: None,
        processes: Vec::new(),
    }
}

fn at_present(device: &Device<'_>, minor: u32, owners: &Owners) -> Gpu {
    let reasons = device.current_throttle_reasons().unwrap_or(ThrottleReasons::NONE);
    let errors = |kind| device.total_ecc_errors(kind, EccCounter::Volatile).ok();
    let mut processes = device.running_compute_processes().unwrap_or_default();
    // A process may be among both.
    for process in device.running_graphics_processes().unwrap_or_default() {
        if !processes.iter().any(|known| known.pid == process.pid) {
            processes.push(process);
        }
    }
    Gpu {
        minor,
        utilisation: device.utilization_rates().ok().map(|share| f64::from(share.gpu) / 100.0),
        memory_used: device.memory_info().ok().map(|memory| memory.used),
        power: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
        temperature: device.temperature(TemperatureSensor::Gpu).ok(),
        sm_clock: device.clock_info(Clock::SM).ok(),
        throttled: REASONS
            .iter()
            .filter(|(r, _)| reasons.contains(*r))
            .map(|(_, w)| (*w).to_owned())
            .collect(),
        corrected_errors: errors(MemoryError::Corrected),
        uncorrected_errors: errors(MemoryError::Uncorrected),
        processes: processes.iter().take(MOST).map(|p| process(p, owners)).collect(),
    }
}

fn process(info: &ProcessInfo, owners: &Owners) -> GpuProcess {
    let pid = i32::try_from(info.pid).unwrap_or(-1);
    let whose = match pid {
        pid if owners.command.contains(&pid) => Whose::Command,
        pid if owners.house.contains(&pid) => Whose::House,
        _ => Whose::Foreign,
    };
    let memory = match info.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    };
    GpuProcess { pid: info.pid, memory, whose }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The driver's library in small: two GPUs, numbers 3 and 5, of which the second tells little.
    const FAKE: &str = r#"
#include <string.h>
typedef struct { unsigned gpu, memory; } util;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } mem;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } proc;
static long here(void *d) { return (long)d; }
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) { *d = (void *)(long)(i + 1); return 0; }
int nvmlDeviceGetMinorNumber(void *d, unsigned *n) { *n = here(d) == 1 ? 3 : 5; return 0; }
int nvmlDeviceGetName(void *d, char *s, unsigned n) { strncpy(s, "Fake H1", n); return 0; }
int nvmlDeviceGetUUID(void *d, char *s, unsigned n) { strncpy(s, "GPU-1", n); return 0; }
int nvmlDeviceGetUtilizationRates(void *d, util *u) { u->gpu = 73; u->memory = 9; return here(d) == 1 ? 0 : 3; }
int nvmlDeviceGetMemoryInfo_v2(void *d, mem *m) { m->total = 80ULL << 30; m->reserved = 1; m->free = 1; m->used = 5ULL << 30; return 0; }
int nvmlDeviceGetPowerUsage(void *d, unsigned *p) { *p = 612500; return 0; }
int nvmlDeviceGetTemperature(void *d, int s, unsigned *t) { *t = 67; return s == 0 ? 0 : 2; }
int nvmlDeviceGetClockInfo(void *d, int c, unsigned *m) { *m = 1755; return c == 1 ? 0 : 2; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *d, unsigned long long *r) { *r = here(d) == 1 ? 0x4 | 0x40 : 0x1; return 0; }
int nvmlDeviceGetTotalEccErrors(void *d, int type, int counter, unsigned long long *n) { *n = type ? 2 : 41; return counter == 0 ? 0 : 2; }
static int list(void *d, unsigned *n, proc *p, unsigned first, unsigned many) {
    unsigned room = *n;
    *n = here(d) == 1 ? many : 0;
    if (room < *n) return 7;
    for (unsigned i = 0; i < *n; i++) { p[i].pid = first + i; p[i].used = (i + 1ULL) << 30; p[i].gi = p[i].ci = 0xFFFFFFFF; }
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *n, proc *p) { return list(d, n, p, 100, 3); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *d, unsigned *n, proc *p) { return list(d, n, p, 102, 1); }
"#;

    #[test]
    fn a_machine_without_the_library_says_so() {
        let why = Gpus::open_from("libnvidia-ml-of-nobody.so.1", &[0]).unwrap_err();
        assert!(why.starts_with("libnvidia-ml.so.1 cannot be used"), "{why}");
    }

    #[test]
    fn gpus_are_read_through_the_library() {
        let dir = tempfile::tempdir().unwrap();
        let (source, library) = (dir.path().join("fake.c"), dir.path().join("libnvidia-ml.so.1"));
        std::fs::write(&source, FAKE).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
        if !compiler.status().is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("PTB_REQUIRE_ALL").is_none(), "cc is needed");
            eprintln!("skipped: no C compiler makes the library");
            return;
        }
        let missing = Gpus::open_from(&library, &[3, 4]).unwrap_err();
        assert_eq!(missing, "the driver does not show /dev/nvidia4");
        let gpus = Gpus::open_from(&library, &[3, 5]).unwrap();
        let name = gpus.names().next().unwrap();
        assert_eq!((name.minor, name.name.as_str(), name.memory), (3, "Fake H1", 80 << 30));
        let owners = Owners { command: [100].into(), house: [100, 101].into() };
        let seen = gpus.look(&owners);
        let [first, second] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!((first.minor, first.utilisation, first.power), (3, Some(0.73), Some(612.5)));
        assert_eq!((first.memory_used, first.temperature), (Some(5 << 30), Some(67)));
        assert_eq!((first.sm_clock, first.corrected_errors), (Some(1755), Some(41)));
        assert_eq!(first.uncorrected_errors, Some(2));
        assert_eq!(first.throttled, ["sw-power-cap", "hw-thermal-slowdown"]);
        let whose: Vec<(u32, Whose)> = first.processes.iter().map(|p| (p.pid, p.whose)).collect();
        assert_eq!(whose, [(100, Whose::Command), (101, Whose::House), (102, Whose::Foreign)]);
        assert!(first.has_foreign() && first.is_throttled());
        assert_eq!(first.command_memory(), 1 << 30);
        assert_eq!((second.minor, second.utilisation, second.processes.len()), (5, None, 0));
        assert!(!second.is_throttled() && !second.has_foreign());
    }
}
