//! The server's tie to the process that started it.

use std::io::Read;
use std::path::PathBuf;

/// Ends this process as soon as its standard input is closed, which happens when the starting process
/// ends, however it ends: parent-death signals would follow the starting thread instead. Removes
/// `socket` before.
///
/// # Errors
/// When no thread can be started.
pub fn tie_to_stdin(socket: Option<PathBuf>) -> std::io::Result<()> {
    let watch = move || {
        let mut buffer = [0; 64];
        let mut stdin = std::io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(n) if n > 0 => {}
                _ => break,
            }
        }
        if let Some(path) = &socket {
            let _ = std::fs::remove_file(path);
        }
        std::process::exit(0);
    };
    std::thread::Builder::new().name("ptb-life-line".to_owned()).spawn(watch)?;
    Ok(())
}
