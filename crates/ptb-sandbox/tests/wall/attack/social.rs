//! Attempts through sockets, shared memory and terminals.
#![expect(unsafe_code, reason = "attempts are raw system calls")]

use super::{Attempt, call, no};
use std::io::Read as _;
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::time::Duration;

/// A path, or with `@` in front an abstract name.
pub(crate) fn address(name: &str) -> std::io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

/// `connect-unix NAME`: greeted by a listener outside.
pub(crate) fn connect_unix(args: &[&str]) -> Attempt {
    let stream = address(args[0]).and_then(|address| UnixStream::connect_addr(&address));
    greeted(stream.map_err(no)?)
}

fn greeted(mut stream: impl std::io::Read) -> Attempt {
    let mut text = String::new();
    stream.by_ref().take(64).read_to_string(&mut text).map_err(no)?;
    if text.is_empty() { Err("no greeting".to_owned()) } else { Ok(text) }
}

/// `send-unix NAME`
pub(crate) fn send_unix(args: &[&str]) -> Attempt {
    let socket = UnixDatagram::unbound().map_err(no)?;
    let address = address(args[0]).map_err(no)?;
    socket.send_to_addr(b"out", &address).map_err(no)?;
    Ok("sent".to_owned())
}

/// `connect-tcp ADDRESS`
pub(crate) fn connect_tcp(args: &[&str]) -> Attempt {
    let address = args[0].parse().unwrap();
    greeted(TcpStream::connect_timeout(&address, Duration::from_secs(5)).map_err(no)?)
}

/// `send-udp ADDRESS`: heard only if answered; sending alone works into any void.
pub(crate) fn send_udp(args: &[&str]) -> Attempt {
    let any = if args[0].starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).map_err(no)?;
    socket.set_read_timeout(Some(Duration::from_secs(2))).map_err(no)?;
    socket.connect(args[0]).map_err(no)?;
    socket.send(b"out").map_err(no)?;
    let mut answer = [0; 16];
    let n = socket.recv(&mut answer).map_err(no)?;
    Ok(format!("{n} bytes back"))
}

/// `socket FAMILY TYPE`
pub(crate) fn socket(args: &[&str]) -> Attempt {
    let (family, kind) = (args[0].parse().unwrap(), args[1].parse().unwrap());
    // SAFETY: plain numbers.
    call(unsafe { libc::socket(family, kind, 0) }.into())?;
    Ok(format!("a socket of family {family}"))
}

/// `shared-memory KEY MARK`: a System V segment that somebody outside made.
pub(crate) fn shared_memory(args: &[&str]) -> Attempt {
    // SAFETY: the segment is attached before it is read, and at least as long as the mark.
    unsafe {
        let id = call(libc::shmget(args[0].parse().unwrap(), 0, 0).into())?;
        let memory = libc::shmat(id as i32, std::ptr::null(), libc::SHM_RDONLY);
        if memory as isize == -1 {
            return Err(no(std::io::Error::last_os_error()));
        }
        let bytes = std::slice::from_raw_parts(memory.cast::<u8>(), args[1].len());
        if bytes == args[1].as_bytes() {
            Ok(args[1].to_owned())
        } else {
            Err("other memory".to_owned())
        }
    }
}

/// `tty`: the harness's terminal.
pub(crate) fn open_tty(_: &[&str]) -> Attempt {
    std::fs::File::options().read(true).write(true).open("/dev/tty").map_err(no)?;
    Ok("a terminal".to_owned())
}

/// `tiocsti`: typing into a terminal. One of its own is as good as any to see whether it can.
pub(crate) fn tiocsti(_: &[&str]) -> Attempt {
    let leader = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).map_err(no)?;
    rustix::pty::unlockpt(&leader).map_err(no)?;
    let name = rustix::pty::ptsname(&leader, Vec::new()).map_err(no)?;
    // SAFETY: fork of a process with one thread; the pointer is to one byte.
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::setsid();
            let fd = libc::open(name.as_ptr(), libc::O_RDWR);
            libc::ioctl(fd, libc::TIOCSCTTY, 0);
            let typed = libc::ioctl(fd, libc::TIOCSTI, c"x".as_ptr());
            libc::_exit(if typed == 0 { 0 } else { *libc::__errno_location() });
        }
        child
    };
    let mut status = 0;
    // SAFETY: a valid place for the status.
    call(unsafe { libc::waitpid(child, &raw mut status, 0) }.into())?;
    match libc::WEXITSTATUS(status) {
        0 if libc::WIFEXITED(status) => Ok("typed".to_owned()),
        error => Err(no(std::io::Error::from_raw_os_error(error))),
    }
}
