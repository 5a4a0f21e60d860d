//! Making and breaking model directories.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses a part; tests fail by panicking"
)]

use std::fs;
use std::path::Path;

use ptb_model::{RandomModel, random_model};
use serde_json::{Value, json};

pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

pub(crate) fn sound(dir: &Path) {
    random_model(dir, &RandomModel::mini(1)).unwrap();
}

/// Changes one value of a JSON file; null removes nothing, it writes null.
pub(crate) fn set(dir: &Path, file: &str, key: &str, value: Value) {
    let path = dir.join(file);
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json[key] = value;
    fs::write(path, json.to_string()).unwrap();
}

/// A safetensors file with this header and that many bytes of data.
pub(crate) fn tensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

pub(crate) fn shard(dir: &Path) -> Value {
    let bytes = fs::read(dir.join(WEIGHTS)).unwrap();
    let all = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    let mut names = all.names();
    names.sort_unstable();
    for (n, part) in names.chunks(names.len() / 2 + 1).enumerate() {
        let file = format!("model-0000{}-of-00002.safetensors", n + 1);
        let views: Vec<_> = part.iter().map(|name| (*name, all.tensor(name).unwrap())).collect();
        fs::write(dir.join(&file), safetensors::serialize(views, None).unwrap()).unwrap();
        part.iter().for_each(|name| drop(map.insert((*name).to_owned(), json!(file))));
    }
    fs::remove_file(dir.join(WEIGHTS)).unwrap();
    json!({ "metadata": {}, "weight_map": map })
}
