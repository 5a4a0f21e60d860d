//! `ptb report`.

use ptb_report::{Options, Report, WeightsChoice};

use super::registry;
use crate::args::{Format, ReportArgs};
use crate::fault::{Fault, Outcome};
use crate::print;

pub(crate) fn run(args: &ReportArgs) -> Outcome {
    let registry = registry(&args.registry)?;
    let weights = match &args.weights {
        Some(name) => WeightsChoice::parse(name, &registry).map_err(Fault::file)?,
        None => WeightsChoice::Default,
    };
    let options = Options { edition: args.edition.clone(), weights };
    let fault = |e: ptb_report::ReportError| Fault::new(e.exit_code(), e);
    let report = Report::of(&args.dir, &registry, &options).map_err(fault)?;
    if report.rows.is_empty() && report.problems.is_empty() {
        let folder = args.dir.display();
        return Err(Fault::usage(format!(
            "there are no runs below {folder}; hint: name results/EXPERIMENT"
        )));
    }
    let format = if args.json { Format::Json } else { args.format };
    print::out(&match format {
        Format::Table => report.table(print::width()),
        Format::Md => report.markdown(),
        Format::Csv => report.csv().map_err(fault)?,
        Format::Json => report.json().map_err(fault)?,
    })?;
    Ok(report.exit_code())
}
