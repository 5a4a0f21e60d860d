//! `ptb lineage`.

use ptb_core::failure::ExitCode;
use ptb_detect::{Lineage, lineage};
use ptb_report::text::harmless;
use serde_json::json;

use crate::args::LineageArgs;
use crate::fault::{Fault, Outcome};
use crate::print;

pub(crate) fn run(args: &LineageArgs) -> Outcome {
    let found = lineage(&args.model, &args.base, &args.suspects).map_err(Fault::usage)?;
    let text = match args.json {
        true => {
            let mut object = json!({ "schema": 1 });
            let found = serde_json::to_value(&found).map_err(Fault::harness)?;
            if let (Some(object), serde_json::Value::Object(found)) =
                (object.as_object_mut(), found)
            {
                object.extend(found);
            }
            format!("{object}\n")
        }
        false => in_words(&found),
    };
    print::out(&text)?;
    Ok(if found.decision.is_clear() { ExitCode::Done } else { ExitCode::Found })
}

fn in_words(found: &Lineage) -> String {
    let all = &found.pooled;
    let mut text = format!(
        "{}\n|u|/|B| {:.5}; {:.1} % of elements are the base's\n",
        found.decision,
        all.moved,
        all.same_as_base * 100.0
    );
    if let (Some(suspect), Some(alpha), Some(cosine)) = (&found.suspect, all.alpha, all.cosine) {
        let spread = found.spread.unwrap_or_default();
        let same = all.same_as_suspect.unwrap_or_default() * 100.0;
        let suspect = harmless(&suspect.display().to_string());
        text += &format!(
            "towards {suspect}: alpha {alpha:.3} ± {spread:.3} over layers, cosine {cosine:.3}; {same:.1} % of elements are its\n"
        );
    }
    if !found.missing.is_empty() {
        text += &format!("{} tensors of the base are not there\n", found.missing.len());
    }
    text
}
