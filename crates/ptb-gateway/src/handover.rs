//! A port of the inside, in the harness's hands: `ptb-door listen` makes it there and sends it through a socket, before
//! the agent's command begins.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};

/// Where `ptb-door listen` brings a port: beside the doors' socket.
pub const LISTEN_SOCKET: &str = "listen.sock";

/// The place where one port is handed over.
#[derive(Debug)]
pub struct Handover {
    socket: PathBuf,
    listener: UnixListener,
}

impl Handover {
    /// Opens the place in the folder of the doors. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let socket = folder.join(LISTEN_SOCKET);
        let listener = UnixListener::from_std(crate::socket::bind(&socket)?)?;
        Ok(Self { socket, listener })
    }

    /// Waits for the one port, and closes the place: whoever comes later finds nothing. Dropping the future is fine.
    ///
    /// # Errors
    /// What came is no listening port of loopback; it comes from before the agent began, so that is a fault of ours.
    pub async fn port(self) -> io::Result<TcpListener> {
        let taken = async {
            let (mut stream, _) = self.listener.accept().await?;
            let port = receive(&stream).await?;
            let port = listening(port)?;
            stream.write_all(b"t").await?;
            Ok(port)
        };
        let taken = taken.await;
        drop(self.listener);
        let _ = std::fs::remove_file(&self.socket);
        taken
    }
}

async fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    stream
        .async_io(Interest::READABLE, || {
            let mut byte = [0];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut with = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut with, flags)?;
            let mut descriptors = with.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut all) => all.next(),
                _ => None,
            });
            descriptors.next().ok_or_else(|| io::Error::other("no port came with it"))
        })
        .await
}

/// The descriptor as what it should be.
fn listening(descriptor: OwnedFd) -> io::Result<TcpListener> {
    if !sockopt::socket_acceptconn(&descriptor)? {
        return Err(io::Error::other("what came does not listen"));
    }
    let listener = TcpListener::from(descriptor);
    match listener.local_addr()? {
        SocketAddr::V4(address) if address.ip().is_loopback() => {}
        other => return Err(io::Error::other(format!("{other} is not loopback"))),
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}
