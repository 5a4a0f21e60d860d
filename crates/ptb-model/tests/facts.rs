//! What is read from sound models: sizes, settings, hashes, widened weights.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{INDEX, WEIGHTS, set, shard, sound, tensors};
use ptb_model::{
    Checkpoint, Links, ModelDir, RandomModel, check_model_dir, check_opened, random_model,
    tensor_hashes, weights_hash,
};
use serde_json::{Value, json};

#[test]
fn facts_of_a_sound_model() {
    let home = tempfile::tempdir().unwrap();
    random_model(home.path(), &RandomModel::tiny(1)).unwrap();
    let facts = check_model_dir(home.path()).unwrap();
    assert_eq!(facts.config, RandomModel::tiny(1).config());
    assert_eq!((facts.parameters, facts.bytes, facts.shards), (1_021_312, 4_085_248, 1));
    assert_eq!(facts.generation.eos, [258, 256]);
    assert!(facts.has_tokenizer && facts.unused.is_empty());
    let sampling = facts.generation.sampling();
    assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p), (0.6, 20, 0.95));
}

#[test]
fn the_newer_rope_form_and_absent_generation_file_are_read() {
    let home = tempfile::tempdir().unwrap();
    sound(home.path());
    set(home.path(), "config.json", "rope_theta", Value::Null);
    set(
        home.path(),
        "config.json",
        "rope_parameters",
        json!({"rope_theta": 5e5, "rope_type": "default"}),
    );
    fs::remove_file(home.path().join("generation_config.json")).unwrap();
    let facts = check_model_dir(home.path()).unwrap();
    assert!(facts.config.layers.iter().all(|layer| layer.rope.unwrap().theta == 5e5));
    assert_eq!(facts.generation.sampling(), ptb_model::Sampling::default());
    assert_eq!(facts.generation.sampling_transformers().temperature, 0.0);
}

#[test]
fn hashes_see_every_bit_and_no_sharding() {
    let home = tempfile::tempdir().unwrap();
    sound(home.path());
    let (tensors, whole) =
        (tensor_hashes(home.path()).unwrap(), weights_hash(home.path()).unwrap());
    assert_eq!(tensors.len(), 24);
    let index = shard(home.path());
    fs::write(home.path().join(INDEX), index.to_string()).unwrap();
    assert_eq!(check_model_dir(home.path()).unwrap().shards, 2);
    assert_eq!(tensor_hashes(home.path()).unwrap(), tensors);
    assert_eq!(weights_hash(home.path()).unwrap(), whole);
    let path = home.path().join("model-00001-of-00002.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let changed = tensor_hashes(home.path()).unwrap();
    assert_eq!(tensors.iter().filter(|(name, hash)| changed[*name] != **hash).count(), 1);
    assert_ne!(weights_hash(home.path()).unwrap(), whole);
}

#[test]
fn random_models_depend_on_the_seed_alone() {
    let hash = |seed| {
        let home = tempfile::tempdir().unwrap();
        random_model(home.path(), &RandomModel::mini(seed)).unwrap();
        weights_hash(home.path()).unwrap()
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn links_out_are_followed_only_where_trusted() {
    let home = tempfile::tempdir().unwrap();
    let (blobs, dir) = (home.path().join("blobs"), home.path().join("snapshot"));
    sound(&blobs);
    fs::create_dir(&dir).unwrap();
    for entry in fs::read_dir(&blobs).unwrap() {
        let name = entry.unwrap().file_name();
        symlink(Path::new("../blobs").join(&name), dir.join(&name)).unwrap();
    }
    assert!(check_model_dir(&dir).unwrap_err().to_string().contains("leads out"));
    let trusted = ModelDir::open_with(&dir, Links::Follow).unwrap();
    assert_eq!(check_opened(&trusted).unwrap().shards, 1);
    // A link that stays inside is no escape.
    let inside = home.path().join("inside");
    sound(&inside);
    fs::rename(inside.join(WEIGHTS), inside.join("real")).unwrap();
    symlink("real", inside.join(WEIGHTS)).unwrap();
    assert!(check_model_dir(&inside).is_ok());
}

#[test]
fn f16_and_bf16_are_widened_exactly() {
    let home = tempfile::tempdir().unwrap();
    let halves: Vec<u8> =
        [1.5_f32, -0.1].iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
    let header = r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]}}"#;
    let mut bytes = tensors(header, 0);
    bytes.extend(halves);
    bytes.extend(half::bf16::from_f32(3.15).to_le_bytes());
    fs::write(home.path().join(WEIGHTS), bytes).unwrap();
    let weights = Checkpoint::open(&ModelDir::open(home.path()).unwrap()).unwrap();
    assert_eq!(weights.read_f32("a").unwrap(), [1.5, -0.099_975_586]);
    assert_eq!(weights.read_f32("b").unwrap(), [3.156_25]);
    assert_eq!(weights.read_bf16("b").unwrap(), [half::bf16::from_f32(3.15)]);
    assert!(weights.read_f32("c").is_err() && weights.read_bf16("a").is_err());
}
