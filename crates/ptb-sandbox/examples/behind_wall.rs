//! Runs a command behind a wall and tells what the wall promises, how the command ended, and what the
//! wall costs while it stands.
//!
//! `cargo run -p ptb-sandbox --example behind_wall -- [--none] DIR COMMAND...` with `DIR` as the
//! workspace; as root, `DIR` is handed to the agent's user.

use ptb_sandbox::{Namespaces, NoWall, Wall, WallSpec, enter_if_helper, give_to_agent};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

type Anything = Result<(), Box<dyn std::error::Error>>;

fn main() -> Anything {
    enter_if_helper();
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let bare = args.first().is_some_and(|arg| arg == "--none");
    if bare {
        args.remove(0);
    }
    if args.len() < 2 {
        return Err("usage: behind_wall [--none] DIR COMMAND...".into());
    }
    let dir = PathBuf::from(args.remove(0)).canonicalize()?;
    let wall: Box<dyn Wall> =
        if bare { Box::new(NoWall::new()) } else { Box::new(Namespaces::new()) };
    let mut out = std::io::stderr();
    let begin = Instant::now();
    for promise in wall.probe()?.guarantees {
        let sign = if promise.holds { '+' } else { '-' };
        writeln!(out, "{sign} {}: {}", promise.name, promise.how)?;
    }
    writeln!(out, "probed in {:?}", begin.elapsed())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(wall.as_ref(), WallSpec::new(dir, args)))
}

async fn run(wall: &dyn Wall, spec: WallSpec) -> Anything {
    let mut out = std::io::stderr();
    give_to_agent(&spec.workspace, spec.identity)?;
    let begin = Instant::now();
    let mut running = wall.launch(spec)?;
    running.started().await?;
    writeln!(out, "started in {:?}, helper {:?}", begin.elapsed(), running.helper_pid())?;
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    let outputs = running.stdout.take().zip(running.stderr.take());
    let ended = match outputs {
        Some((mut output, mut errors)) => {
            let copy = tokio::io::copy(&mut output, &mut stdout);
            let copy_errors = tokio::io::copy(&mut errors, &mut stderr);
            let (_, _, ended) = tokio::join!(copy, copy_errors, running.wait());
            ended
        }
        None => running.wait().await,
    };
    writeln!(out, "{ended:?} after {:?}", begin.elapsed())?;
    Ok(())
}
