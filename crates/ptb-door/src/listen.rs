//! `ptb-door listen PORT -- COMMAND...`: opens a port of this network, hands it to the harness, becomes the command.
//!
//! An empty network has loopback alone, and nobody on it. The harness cannot enter it; but a socket belongs to the
//! network in which it was made, whoever holds it. So the harness serves the port itself, and no process of the inside
//! stands between, which the agent could end.

use std::ffi::OsString;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::{FAILED, Failure};

/// How long the harness may take to take the port.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hands `port` over and becomes `command`; returns only when that fails.
pub(crate) fn listen(port: u16, command: &[OsString]) -> Failure {
    let failed = |doing: &str, e: &dyn std::fmt::Display| {
        Failure::new(FAILED, format!("{doing}: {e}"), "the harness starts this program itself")
    };
    let socket = crate::http::socket().with_file_name("listen.sock");
    if let Err(e) = hand_over(port, socket) {
        return failed(&format!("cannot hand port {port} over"), &e);
    }
    let Some((program, arguments)) = command.split_first() else {
        return failed("cannot start a command", &"there is none");
    };
    let error = Command::new(program).args(arguments).exec();
    failed(&format!("cannot start {}", program.to_string_lossy()), &error)
}

fn hand_over(port: u16, socket: PathBuf) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let mut harness = UnixStream::connect(socket)?;
    harness.set_read_timeout(Some(PATIENCE))?;
    let ports = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    if !with.push(SendAncillaryMessage::ScmRights(&ports)) {
        return Err(std::io::Error::other("no room for one descriptor"));
    }
    sendmsg(&harness, &[IoSlice::new(b"p")], &mut with, SendFlags::empty())?;
    let mut taken = [0];
    harness.read_exact(&mut taken)
}
