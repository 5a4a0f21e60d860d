//! Attempts on files, file systems and space.
#![expect(unsafe_code, reason = "attempts are raw system calls")]

use super::{Attempt, call, no};
use std::ffi::CString;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// `read PATH MARK`; `init` in the path is the number of PID 1.
pub(crate) fn read(args: &[&str]) -> Attempt {
    let init = format!("/{}/", std::os::unix::process::parent_id());
    let text = std::fs::read_to_string(args[0].replace("/init/", &init)).map_err(no)?;
    if text.contains(args[1]) { Ok(text) } else { Err("other contents".to_owned()) }
}

/// `hard-link FROM TO MARK`
pub(crate) fn hard_link(args: &[&str]) -> Attempt {
    std::fs::hard_link(args[0], args[1]).map_err(no)?;
    read(&[args[1], args[2]])
}

/// `open-by-handle MOUNT TYPE HEX MARK`: a file by its number, as containers were once escaped.
pub(crate) fn open_by_handle(args: &[&str]) -> Attempt {
    let mount = std::fs::File::open(args[0]).map_err(no)?;
    let hex = args[2].as_bytes().chunks(2);
    let bytes: Vec<u8> =
        hex.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect();
    let kind: i32 = args[1].parse().unwrap();
    let mut handle = (bytes.len() as u32).to_ne_bytes().to_vec();
    handle.extend(kind.to_ne_bytes());
    handle.extend(bytes);
    // SAFETY: the handle is the kernel's structure: length, type, bytes.
    let fd = call(unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            handle.as_ptr(),
            libc::O_RDONLY,
        )
    })?;
    read(&[&format!("/proc/self/fd/{fd}"), args[3]])
}

/// `mknod PATH`: a device node of one's own, then reading from the device (the random numbers'; a
/// disk would work the same).
pub(crate) fn mknod(args: &[&str]) -> Attempt {
    let path = c(args[0]);
    // SAFETY: a NUL-terminated path and plain numbers.
    call(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 9)) }.into())?;
    let mut device = std::fs::File::open(args[0]).map_err(no)?;
    let mut bytes = [0; 8];
    device.read_exact(&mut bytes).map_err(no)?;
    Ok(format!("{bytes:?}"))
}

/// `write PATH`
pub(crate) fn write(args: &[&str]) -> Attempt {
    let file = std::fs::File::options().create(true).append(true).open(args[0]);
    file.and_then(|mut file| file.write_all(b"planted")).map_err(no)?;
    Ok(args[0].to_owned())
}

/// `fill DIR BYTES`
pub(crate) fn fill(args: &[&str]) -> Attempt {
    let bytes: usize = args[1].parse().unwrap();
    let path = Path::new(args[0]).join("filler");
    let mut file = std::fs::File::create(&path).map_err(no)?;
    let result = file.write_all(&vec![1; bytes]).map_err(no);
    let _ = std::fs::remove_file(path);
    result.map(|()| format!("{bytes} bytes"))
}

/// `inodes DIR COUNT`
pub(crate) fn inodes(args: &[&str]) -> Attempt {
    let count: usize = args[1].parse().unwrap();
    for n in 0..count {
        std::fs::File::create(Path::new(args[0]).join(format!("{n}"))).map_err(no)?;
    }
    Ok(format!("{count} files"))
}

/// `big-file PATH BYTES`
pub(crate) fn big_file(args: &[&str]) -> Attempt {
    // SAFETY: ignoring a signal installs no handler; without it the limit would kill this process.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let file = std::fs::File::create(args[0]).map_err(no)?;
    file.set_len(args[1].parse().unwrap()).map_err(no)?;
    Ok("a file beyond the limit".to_owned())
}

/// `search SINCE MARKS ROOT...`: every readable file below the roots (in `/usr` those that changed
/// since the marks were planted) and every readable file of `/proc`, up to a megabyte each.
pub(crate) fn search(args: &[&str]) -> Attempt {
    let since: i64 = args[0].parse().unwrap();
    let marks: Vec<&str> = args[1].split(',').collect();
    let mut search = Search { since, marks, read: 0, found: Vec::new() };
    let root_device = std::fs::symlink_metadata("/proc").map_err(no)?.dev();
    for root in &args[2..] {
        search.walk(Path::new(root), root_device, 0);
    }
    if search.found.is_empty() {
        return Err(format!("nothing in {} files", search.read));
    }
    search.found.truncate(20);
    Ok(search.found.join("; "))
}

struct Search<'a> {
    since: i64,
    marks: Vec<&'a str>,
    read: usize,
    found: Vec<String>,
}

impl Search<'_> {
    fn walk(&mut self, dir: &Path, proc_device: u64, depth: usize) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            self.hunt(name.as_bytes(), &path);
            let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
            if meta.is_dir() {
                let own_task = meta.dev() == proc_device && name == "task";
                if depth < 64 && !own_task {
                    self.walk(&path, proc_device, depth + 1);
                }
            } else if meta.is_file() {
                let old = path.starts_with("/usr") && meta.ctime() < self.since;
                if !old {
                    self.look(&path);
                }
            } else if meta.file_type().is_symlink() && path.starts_with("/proc") {
                // Links of /proc lead to files that have no other way in.
                let inside = std::fs::metadata(&path).is_ok_and(|meta| meta.is_file());
                if inside {
                    self.look(&path);
                }
            } else if meta.file_type().is_socket() {
                self.read += 1;
            }
        }
    }

    fn look(&mut self, path: &Path) {
        let open = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let Ok(file) = open else { return };
        let mut bytes = Vec::new();
        let _ = file.take(1 << 20).read_to_end(&mut bytes);
        self.read += 1;
        self.hunt(&bytes, path);
    }

    fn hunt(&mut self, bytes: &[u8], path: &Path) {
        // The search's own command line names the marks, reversed; here they are as planted.
        let text = String::from_utf8_lossy(bytes);
        for mark in &self.marks {
            let mark: String = mark.chars().rev().collect();
            if text.contains(&mark) {
                self.found.push(format!("{mark} in {}", path.display()));
            }
        }
    }
}
