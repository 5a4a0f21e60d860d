//! The system calls that the inside does without.
//!
//! The namespaces are the wall; this filter takes away what has broken such walls before: calls that
//! reach across (keyrings, VM sockets, the kernel log), that build new namespaces and mounts, that
//! bypass filters (`io_uring`, foreign system-call tables) or that widen the kernel's surface. Calls
//! answer with an error that programs know how to live with; nothing is killed but a program of a
//! foreign architecture. `ptrace` stays: every process inside has the same user and no capability, so
//! tracing gains nothing, and PID 1, the only other process in sight, is not dumpable.

use crate::wire::Failure;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use std::collections::BTreeMap;

/// System calls above the newest one known when this was written do not exist inside; the same test
/// refuses the x32 table, whose numbers have bit 30 set. 469 is `file_setattr` (Linux 6.17).
const FIRST_UNKNOWN: u32 = 470;

/// Refused with `EPERM`, whatever their arguments.
const REFUSED: &[i64] = &[
    // keys of the kernel
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // mounts
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    SYS_OPEN_TREE_ATTR,
    // namespaces
    libc::SYS_setns,
    // other processes' memory and descriptors
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // files by number instead of by path
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // kernel surface
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    // the machine
    libc::SYS_acct,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_vhangup,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] =
    &[libc::SYS_ioperm, libc::SYS_iopl, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS_sysfs];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// `open_tree_attr` (Linux 6.15), the same number everywhere.
const SYS_OPEN_TREE_ATTR: i64 = 467;

/// Answered with `ENOSYS`, so that libraries fall back to older calls whose arguments can be judged
/// (`clone3` hides its flags in memory) or that pass this filter (`io_uring` does not).
const ABSENT: &[i64] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// Flags of `clone` and `unshare` that make namespaces: mount, cgroup, UTS, IPC, user, PID, network.
const NEW_NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
/// Only for `unshare`: in `clone` these bits are part of the exit signal.
const CLONE_NEWTIME: u64 = 0x80;

/// Terminal requests that put characters into a terminal's input or reach the console.
const TERMINAL_INPUT: [u64; 2] = [0x5412, 0x541C];

/// Socket families that stay: Unix, IPv4, IPv6, netlink (interfaces of the own network namespace).
/// VM sockets, for one, know no network namespace.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Execution domains that stay: Linux, 32-bit Linux, without address randomisation (debuggers), ask.
const PERSONALITIES: [u64; 4] = [0, 8, 0x0004_0000, 0xffff_ffff];

/// The filters of the inside, to be installed in this order. With several, the kernel takes the
/// strictest answer.
pub(super) fn programs() -> Result<Vec<BpfProgram>, Failure> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
    let refused = REFUSED.iter().chain(REFUSED_HERE).map(|number| (*number, Vec::new()));
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = refused.collect();
    let mut unshare = any_flag(0, NEW_NAMESPACES.map(|flag| u64::from(flag as u32)))?;
    unshare.extend(any_flag(0, [CLONE_NEWTIME])?);
    refused.insert(libc::SYS_unshare, unshare);
    refused
        .insert(libc::SYS_clone, any_flag(0, NEW_NAMESPACES.map(|flag| u64::from(flag as u32)))?);
    let terminal = TERMINAL_INPUT.map(|request| when(1, SeccompCmpOp::Eq, request).and_then(rule1));
    refused.insert(libc::SYS_ioctl, terminal.into_iter().collect::<Result<_, _>>()?);
    refused.insert(libc::SYS_personality, vec![none_of(0, PERSONALITIES)?]);
    let families = FAMILIES.map(|family| u64::from(family as u32));
    let sockets = [
        (libc::SYS_socket, vec![none_of(0, families)?]),
        (libc::SYS_socketpair, vec![none_of(0, families)?]),
    ];
    let absent = ABSENT.iter().map(|number| (*number, Vec::new())).collect();
    Ok(vec![
        known_calls(),
        filter(refused, libc::EPERM, arch)?,
        filter(absent, libc::ENOSYS, arch)?,
        filter(sockets.into(), libc::EAFNOSUPPORT, arch)?,
    ])
}

/// Installs the filters on this thread; they hold for everything it executes and starts.
pub(super) fn install(programs: &[BpfProgram]) -> Result<(), Failure> {
    programs.iter().try_for_each(|program| seccompiler::apply_filter(program).map_err(failed))
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new("making the system-call filter", &std::io::Error::other(error))
}

fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: i32,
    arch: TargetArch,
) -> Result<BpfProgram, Failure> {
    let refusal = SeccompAction::Errno(errno as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch)
        .and_then(BpfProgram::try_from)
        .map_err(failed)
}

fn when(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Failure> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value).map_err(failed)
}

fn rule1(condition: SeccompCondition) -> Result<SeccompRule, Failure> {
    SeccompRule::new(vec![condition]).map_err(failed)
}

/// Rules that match when any of the flags is set.
fn any_flag<const N: usize>(argument: u8, flags: [u64; N]) -> Result<Vec<SeccompRule>, Failure> {
    let set = |flag| when(argument, SeccompCmpOp::MaskedEq(flag), flag).and_then(rule1);
    flags.into_iter().map(set).collect()
}

/// A rule that matches when the argument is none of the values.
fn none_of<const N: usize>(argument: u8, values: [u64; N]) -> Result<SeccompRule, Failure> {
    let conditions = values.into_iter().map(|value| when(argument, SeccompCmpOp::Ne, value));
    SeccompRule::new(conditions.collect::<Result<_, _>>()?).map_err(failed)
}

/// `ENOSYS` for numbers at or above [`FIRST_UNKNOWN`]. The first word of what a filter sees is the
/// number (`struct seccomp_data`).
fn known_calls() -> BpfProgram {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let at_least = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    vec![
        sock_filter { code: load, jt: 0, jf: 0, k: 0 },
        sock_filter { code: at_least, jt: 0, jf: 1, k: FIRST_UNKNOWN },
        sock_filter { code: answer, jt: 0, jf: 0, k: refuse },
        sock_filter { code: answer, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of one filter: the instructions that the compiler emits, carried out.
    fn run(program: &[sock_filter], number: u32, arch: u32, args: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        for word in [number, arch, 0, 0] {
            data.extend(word.to_le_bytes());
        }
        args.iter().for_each(|arg| data.extend(arg.to_le_bytes()));
        let (mut accumulator, mut at) = (0u32, 0usize);
        loop {
            let op = &program[at];
            let jump = |yes: bool| at + 1 + usize::from(if yes { op.jt } else { op.jf });
            at = match u32::from(op.code) {
                0x20 => {
                    let k = op.k as usize;
                    accumulator = u32::from_le_bytes(data[k..k + 4].try_into().unwrap());
                    at + 1
                }
                0x54 => {
                    accumulator &= op.k;
                    at + 1
                }
                0x05 => at + 1 + op.k as usize,
                0x15 => jump(accumulator == op.k),
                0x25 => jump(accumulator > op.k),
                0x35 => jump(accumulator >= op.k),
                0x06 => return op.k,
                other => panic!("instruction {other:#x}"),
            };
        }
    }

    /// What the kernel makes of all filters: the strictest answer.
    fn answer_on(arch: u32, number: u32, args: &[u64]) -> Result<(), i32> {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let answers = programs().unwrap().into_iter().map(|p| run(&p, number, arch, all));
        // Actions are ordered by value as signed numbers; the smallest is the strictest.
        match answers.min_by_key(|a| (*a & 0xffff_0000) as i32).unwrap() {
            libc::SECCOMP_RET_ALLOW => Ok(()),
            a if a & 0xffff_0000 == libc::SECCOMP_RET_ERRNO => Err((a & 0xffff) as i32),
            _ => Err(-1),
        }
    }

    #[cfg(target_arch = "x86_64")]
    const HERE: u32 = 0xC000_003E;
    #[cfg(target_arch = "aarch64")]
    const HERE: u32 = 0xC000_00B7;

    fn answer(number: i64, args: &[u64]) -> Result<(), i32> {
        answer_on(HERE, number as u32, args)
    }

    #[test]
    fn plain_work_passes() {
        for (number, args) in [
            (libc::SYS_read, &[0u64][..]),
            (libc::SYS_execve, &[]),
            (libc::SYS_ptrace, &[]),
            (libc::SYS_clone, &[libc::SIGCHLD as u64]),
            (libc::SYS_clone, &[0x003d_0f00]),
            (libc::SYS_unshare, &[libc::CLONE_FILES as u64]),
            (libc::SYS_ioctl, &[0, 0x5413]),
            (libc::SYS_socket, &[libc::AF_UNIX as u64]),
            (libc::SYS_socket, &[libc::AF_INET6 as u64]),
            (libc::SYS_personality, &[0xffff_ffff]),
            (libc::SYS_personality, &[0x0004_0000]),
        ] {
            assert_eq!(answer(number, args), Ok(()), "{number} {args:x?}");
        }
    }

    #[test]
    fn escapes_are_refused_with_answers_that_programs_know() {
        let high_bits = 0xdead_beef_0000_0000;
        for (number, args, errno) in [
            (libc::SYS_mount, &[0u64][..], libc::EPERM),
            (libc::SYS_keyctl, &[], libc::EPERM),
            (libc::SYS_ioctl, &[0, 0x5412], libc::EPERM),
            (libc::SYS_ioctl, &[0, 0x5412 | high_bits], libc::EPERM),
            (libc::SYS_ioctl, &[0, 0x541C], libc::EPERM),
            (libc::SYS_clone, &[libc::CLONE_NEWUSER as u64 | 17], libc::EPERM),
            (libc::SYS_clone, &[libc::CLONE_NEWNET as u64 | high_bits], libc::EPERM),
            (libc::SYS_unshare, &[CLONE_NEWTIME], libc::EPERM),
            (libc::SYS_unshare, &[(libc::CLONE_NEWNS | libc::CLONE_FILES) as u64], libc::EPERM),
            (libc::SYS_clone3, &[], libc::ENOSYS),
            (libc::SYS_io_uring_setup, &[], libc::ENOSYS),
            (libc::SYS_socket, &[40], libc::EAFNOSUPPORT),
            (libc::SYS_socketpair, &[16 | 32], libc::EAFNOSUPPORT),
            (libc::SYS_personality, &[0x0040_0000], libc::EPERM),
            (SYS_OPEN_TREE_ATTR, &[], libc::EPERM),
            (i64::from(FIRST_UNKNOWN), &[], libc::ENOSYS),
        ] {
            assert_eq!(answer(number, args), Err(errno), "{number} {args:x?}");
        }
    }

    #[test]
    fn foreign_tables_of_system_calls_are_no_way_around() {
        const I386: u32 = 0x4000_0003;
        const X32_BIT: u32 = 0x4000_0000;
        assert_eq!(answer_on(I386, 20, &[]), Err(-1));
        assert_eq!(answer_on(HERE, X32_BIT | libc::SYS_mount as u32, &[]), Err(libc::ENOSYS));
        assert_eq!(answer_on(HERE, X32_BIT | libc::SYS_read as u32, &[]), Err(libc::ENOSYS));
    }
}
