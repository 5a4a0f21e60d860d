//! Records from JSON Lines.

use std::path::Path;

use super::Records;
use crate::error::TaskError;
use crate::lines::{LONGEST_LINE, LineFault, for_each_record};

/// Records with their 1-based lines. Any line that is not an object is an error that names it.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Records, TaskError> {
    let mut records = Vec::new();
    let read = for_each_record(bytes, LONGEST_LINE, |line, record| {
        records.push((line, record));
        Ok(())
    });
    match read {
        Ok(()) => Ok(records),
        Err(LineFault::Io(e)) => Err(super::read_error(path, &e.to_string(), "check the file")),
        Err(LineFault::Bad(line, reason)) => Err(TaskError::Record {
            path: path.to_owned(),
            line,
            reason,
            hint: "a data file has one JSON object a line".to_owned(),
        }),
    }
}
