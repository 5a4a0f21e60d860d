//! Records from Parquet, the format of the hub's datasets.

use std::path::Path;

use parquet::data_type::AsBytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::{Map, Value};

use super::{Records, read_error};
use crate::error::TaskError;

/// Most rows that are read.
const MOST_ROWS: usize = 10_000_000;

/// Rows as records, counted from 1.
pub(super) fn read(path: &Path, bytes: Vec<u8>) -> Result<Records, TaskError> {
    rows(bytes).map_err(|e| {
        let reason = format!("it is not a whole Parquet file: {e}");
        read_error(path, &reason, "fetch the file again")
    })
}

fn rows(bytes: Vec<u8>) -> Result<Records, ParquetError> {
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes))?;
    let mut records = Vec::new();
    for (i, row) in reader.get_row_iter(None)?.take(MOST_ROWS).enumerate() {
        records.push((i + 1, record(row?)));
    }
    Ok(records)
}

fn record(row: Row) -> Map<String, Value> {
    row.into_columns().into_iter().map(|(name, field)| (name, value(field))).collect()
}

fn value(field: Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(b) => b.into(),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float16(x) => f32::from(x).into(),
        Field::Float(x) => x.into(),
        Field::Double(x) => x.into(),
        Field::Str(text) => text.into(),
        Field::Bytes(raw) => String::from_utf8_lossy(raw.as_bytes()).into_owned().into(),
        Field::Group(row) => Value::Object(record(row)),
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        // Dates, decimals and maps: no benchmark asks for their value, only that they do no harm.
        other => Value::String(other.to_string()),
    }
}
