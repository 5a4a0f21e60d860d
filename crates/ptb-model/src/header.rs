//! The safetensors header: an 8-byte length, JSON, then the tensors' bytes.
//!
//! Format: <https://github.com/huggingface/safetensors#format>. The `safetensors` crate writes our
//! files; reading is our own because a hostile file needs messages that name the tensor at fault, and
//! because a name given twice must be refused, which a map cannot see.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Fault, shorten};

/// The library's own bound is 100 MB; a header of 40,000 tensors takes 5 MB.
const MAX_HEADER: u64 = 16 << 20;
const MAX_TENSORS: usize = 1 << 17;
const MAX_RANK: usize = 8;

/// Element types that safetensors files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the format's own")]
#[allow(non_camel_case_types)]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    BOOL,
    F8_E4M3,
    F8_E5M2,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> u64 {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::BOOL | Self::F8_E4M3 | Self::F8_E5M2 => 1,
        }
    }

    /// True for the types that weights are read from: f32, bf16, f16.
    pub fn is_weight(self) -> bool {
        matches!(self, Self::F32 | Self::BF16 | Self::F16)
    }

    /// The format's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::BOOL => "BOOL",
            Self::F8_E4M3 => "F8_E4M3",
            Self::F8_E5M2 => "F8_E5M2",
        }
    }
}

/// One tensor of one file; `begin` counts from the start of the file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) begin: u64,
    pub(crate) len: u64,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

struct RawHeader(Vec<(String, RawEntry)>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = RawHeader;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensor names to their places")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                use serde::de::Error;
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if entries.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    let entry = map.next_value().map_err(|e| {
                        A::Error::custom(format!("tensor `{}`: {e}", shorten(&name, 120)))
                    })?;
                    entries.push((name, entry));
                }
                Ok(RawHeader(entries))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

/// Reads and checks the header of one file.
pub(crate) fn read(file: &File) -> Result<Vec<Entry>, Fault> {
    let size = file.metadata()?.len();
    if size < 8 {
        return Err(Fault::malformed(format!("it has {size} bytes, too few for a header")));
    }
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(Fault::malformed(format!(
            "its header claims {length} bytes, at most {MAX_HEADER} are read"
        )));
    }
    let start = 8 + length;
    if start > size {
        return Err(Fault::malformed(format!(
            "its header claims {length} bytes, and the file ends after {size}"
        )));
    }
    let mut json = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut json, 8)?;
    let header: RawHeader = serde_json::from_slice(&json)
        .map_err(|e| Fault::malformed(format!("its header is not valid: {e}")))?;
    placed(header, start, size - start)
}

/// Checks every tensor's place: sizes agree with shapes, and together they fill the data exactly.
fn placed(header: RawHeader, start: u64, data: u64) -> Result<Vec<Entry>, Fault> {
    let mut names = HashSet::new();
    let mut entries = Vec::with_capacity(header.0.len());
    for (name, raw) in header.0 {
        let entry = sized(&name, &raw, start, data)?;
        if !names.insert(name) {
            return Err(Fault::malformed(format!("tensor `{}` occurs twice", entry.name)));
        }
        entries.push(entry);
    }
    entries.sort_by_key(|e| (e.begin, e.len));
    let mut end = start;
    for entry in &entries {
        let tensor = || shorten(&entry.name, 120);
        if entry.begin < end {
            return Err(Fault::malformed(format!("tensor `{}` overlaps another", tensor())));
        }
        if entry.begin > end {
            return Err(Fault::malformed(format!(
                "bytes before tensor `{}` belong to none",
                tensor()
            )));
        }
        end = entry.begin + entry.len;
    }
    if end != start + data {
        let rest = start + data - end;
        return Err(Fault::malformed(format!("{rest} bytes at its end belong to no tensor")));
    }
    Ok(entries)
}

fn sized(name: &str, raw: &RawEntry, start: u64, data: u64) -> Result<Entry, Fault> {
    let tensor = || shorten(name, 120);
    if raw.shape.len() > MAX_RANK {
        return Err(Fault::malformed(format!(
            "tensor `{}` has {} dimensions, at most {MAX_RANK} are read",
            tensor(),
            raw.shape.len()
        )));
    }
    let (begin, end) = raw.data_offsets;
    if begin > end || end > data {
        return Err(Fault::malformed(format!(
            "tensor `{}` lies at {begin}..{end}, and the file has {data} bytes of data",
            tensor()
        )));
    }
    let bytes = raw.shape.iter().try_fold(raw.dtype.size(), |n, d| n.checked_mul(*d));
    if bytes != Some(end - begin) {
        return Err(Fault::malformed(format!(
            "tensor `{}` of shape {:?} and type {} cannot have {} bytes",
            tensor(),
            raw.shape,
            raw.dtype.name(),
            end - begin
        )));
    }
    let shape = raw.shape.iter().map(|d| usize::try_from(*d).unwrap_or(usize::MAX)).collect();
    Ok(Entry {
        name: name.to_owned(),
        dtype: raw.dtype,
        shape,
        begin: start + begin,
        len: end - begin,
    })
}
