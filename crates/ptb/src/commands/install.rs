//! `ptb install`.

use ptb_agents::{InstallError, install};
use ptb_core::failure::ExitCode;
use serde_json::json;

use super::registry;
use crate::args::InstallArgs;
use crate::fault::{Fault, Outcome};
use crate::print;

pub(crate) fn run(args: &InstallArgs) -> Outcome {
    let registry = registry(&args.registry)?;
    let mut installed = Vec::new();
    for id in &args.agents {
        let agent = registry.agent(id).map_err(Fault::file)?;
        let tell = |line: String| {
            if !args.json {
                print::note(&line);
            }
        };
        let found = install(agent, args.agent_version.as_deref(), &tell).map_err(requirement)?;
        let Some(found) = found else {
            let message = format!("{id} has nothing to install");
            return Err(Fault::usage(format!("{message}; hint: see `ptb list agents`")));
        };
        installed.push((id, found));
    }
    if args.json {
        let entries: Vec<_> = installed
            .iter()
            .map(|(id, i)| json!({"agent": id, "version": i.version, "folder": i.folder}))
            .collect();
        return print::out(&format!("{}\n", json!({"schema": 1, "installed": entries})));
    }
    let lines =
        installed.iter().map(|(id, i)| format!("{id} {}  {}\n", i.version, i.folder.display()));
    print::out(&lines.collect::<String>())
}

fn requirement(e: InstallError) -> Fault {
    Fault::new(ExitCode::Requirement, e)
}
