//! Saving: what is written is what was meant, and the target holds a whole model at every instant.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ptb_model::{
    Checkpoint, Links, ModelDir, RandomModel, SaveError, check_model_dir, check_opened, check_save,
    random_model, save_model, tensor_hashes, weights_hash,
};

struct Home {
    _home: tempfile::TempDir,
    base: PathBuf,
    target: PathBuf,
    parent: PathBuf,
}

fn home(shape: &RandomModel) -> Home {
    let home = tempfile::tempdir().unwrap();
    let (base, parent) = (home.path().join("base"), home.path().join("out"));
    random_model(&base, shape).unwrap();
    fs::create_dir(&parent).unwrap();
    Home { base, target: parent.join("final_model"), parent, _home: home }
}

/// Saves the base's own weights times `factor`.
fn save(home: &Home, factor: f32) -> Result<(), SaveError> {
    let base = ModelDir::open(&home.base).unwrap();
    let checkpoint = Checkpoint::open(&base).unwrap();
    save_model(&home.target, &base, &[], |name| {
        let values = checkpoint.read_f32(name);
        values.map(|v| v.iter().map(|x| x * factor).collect())
    })
}

fn hash(dir: &Path) -> String {
    weights_hash(dir).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let all = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<String> = all.collect();
    all.sort();
    all
}

#[test]
fn unchanged_weights_are_the_bases_to_the_bit_in_its_type() {
    for bf16 in [false, true] {
        let home = home(&RandomModel { bf16, ..RandomModel::mini(1) });
        save(&home, 1.0).unwrap();
        assert_eq!(hash(&home.base), hash(&home.target));
        for name in ["config.json", "generation_config.json", "tokenizer.json"] {
            let read = |dir: &Path| fs::read(dir.join(name)).unwrap();
            assert_eq!(read(&home.base), read(&home.target), "{name}");
        }
        assert_eq!(names(&home.base), names(&home.target));
        assert_eq!(names(&home.parent), ["final_model"]);
        let facts = check_model_dir(&home.target).unwrap();
        assert_eq!(facts.dtypes.keys().collect::<Vec<_>>(), [if bf16 { "BF16" } else { "F32" }]);
        let bytes = fs::read(home.target.join("model.safetensors")).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
        assert!(header.info("lm_head.weight").is_none(), "the tied head is not written");
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&home.target.join("model.safetensors")), 0o644);
        assert_eq!(mode(&home.target) & 0o555, 0o555);
    }
}

#[test]
fn a_model_is_replaced_and_extra_files_win() {
    let home = home(&RandomModel { tie_word_embeddings: false, ..RandomModel::mini(2) });
    save(&home, 1.0).unwrap();
    save(&home, 0.5).unwrap();
    assert_ne!(hash(&home.base), hash(&home.target));
    assert_eq!(names(&home.parent), ["final_model"]);
    let base = ModelDir::open(&home.base).unwrap();
    let checkpoint = Checkpoint::open(&base).unwrap();
    let extra: [(&str, &[u8]); 2] = [("generation_config.json", b"{}"), ("notes.txt", b"hello")];
    save_model(&home.target, &base, &extra, |name| checkpoint.read_f32(name)).unwrap();
    let read = |name: &str| fs::read(home.target.join(name)).unwrap();
    assert_eq!(read("generation_config.json"), b"{}");
    assert_eq!(read("notes.txt"), b"hello");
    let all = tensor_hashes(&home.target).unwrap();
    assert!(all.contains_key("lm_head.weight"), "an untied head is");
}

#[test]
fn a_link_at_the_target_is_replaced_and_not_followed() {
    let home = home(&RandomModel::mini(3));
    let elsewhere = home.parent.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("config.json"), "kept").unwrap();
    symlink(&elsewhere, &home.target).unwrap();
    save(&home, 1.0).unwrap();
    assert!(!home.target.is_symlink());
    assert_eq!(hash(&home.base), hash(&home.target));
    assert_eq!(names(&elsewhere), ["config.json"]);
    assert_eq!(names(&home.parent), ["elsewhere", "final_model"]);
}

#[test]
fn other_things_are_not_replaced() {
    let home = home(&RandomModel::mini(4));
    fs::write(&home.target, "a file").unwrap();
    let error = save(&home, 1.0).unwrap_err().to_string();
    assert!(error.contains("it is a file") && error.contains("hint: "), "{error}");
    fs::remove_file(&home.target).unwrap();
    fs::create_dir(&home.target).unwrap();
    fs::write(home.target.join("thesis.txt"), "years of work").unwrap();
    let error = save(&home, 1.0).unwrap_err().to_string();
    assert!(error.contains("holds no model"), "{error}");
    assert_eq!(names(&home.target), ["thesis.txt"]);
    // A configuration beside it makes no model of it, nor do folders and links of a model's names.
    fs::write(home.target.join("config.json"), "{}").unwrap();
    let error = save(&home, 1.0).unwrap_err().to_string();
    assert!(error.contains("`thesis.txt` is no file of one"), "{error}");
    fs::remove_file(home.target.join("thesis.txt")).unwrap();
    fs::create_dir(home.target.join("tokenizer.json")).unwrap();
    let error = save(&home, 1.0).unwrap_err().to_string();
    assert!(error.contains("`tokenizer.json` is no file"), "{error}");
    fs::remove_dir(home.target.join("tokenizer.json")).unwrap();
    symlink("/nowhere", home.target.join("vocab.json")).unwrap();
    assert!(save(&home, 1.0).is_err());
    assert_eq!(names(&home.target), ["config.json", "vocab.json"]);
    // A model's weights alone may be anybody's.
    fs::remove_file(home.target.join("config.json")).unwrap();
    fs::remove_file(home.target.join("vocab.json")).unwrap();
    fs::write(home.target.join("x.safetensors"), "").unwrap();
    assert!(save(&home, 1.0).unwrap_err().to_string().contains("holds no model"));
    for name in ["config.json", "README.md", "tokenizer_config.json", "model-2.safetensors"] {
        fs::write(home.target.join(name), "").unwrap();
    }
    save(&home, 1.0).unwrap();
    assert_eq!(names(&home.base), names(&home.target));
    let base = ModelDir::open(&home.base).unwrap();
    for name in ["../x", "a/b", "..", "", "model.safetensors"] {
        fs::remove_dir_all(&home.target).ok();
        let values = |_: &str| Err::<Vec<f32>, _>("never asked");
        let error = save_model(&home.target, &base, &[(name, b"x")], values).unwrap_err();
        assert!(matches!(error, SaveError::Target { .. }), "{error}");
        assert_eq!(names(&home.parent), [""; 0], "nothing is left");
    }
    let values = |_: &str| Err::<Vec<f32>, _>("never asked");
    assert!(save_model(Path::new(".."), &base, &[], values).is_err());
}

#[test]
fn what_would_fail_at_the_end_is_found_before() {
    let home = home(&RandomModel::mini(8));
    let check = |target: &Path| {
        let base = ModelDir::open(&home.base).unwrap();
        check_save(target, &base).map_err(|e| e.to_string())
    };
    check(&home.target).unwrap();
    assert_eq!(names(&home.parent), [""; 0], "nothing is left");
    check(&home.parent.join("not/yet/there")).unwrap();
    for target in ["/", ".", "..", "a/.."] {
        assert!(check(Path::new(target)).unwrap_err().contains("ends in no name"), "{target}");
    }
    assert!(check(Path::new("/proc/x")).unwrap_err().contains("making a folder beside it"));
    fs::write(home.base.join("vocab.json"), "{}").unwrap();
    check(&home.target).unwrap();
    fs::remove_file(home.base.join("vocab.json")).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    let fifo = home.base.join("vocab.json");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(check(&home.target).unwrap_err().contains("vocab.json: it is not a regular file"));
    fs::remove_file(&fifo).unwrap();
    let config = fs::read_to_string(home.base.join("config.json")).unwrap();
    let other = config.replace("\"intermediate_size\": 80", "\"intermediate_size\": 1");
    assert_ne!(config, other);
    fs::write(home.base.join("config.json"), other).unwrap();
    let error = check(&home.target).unwrap_err();
    assert!(error.contains("gate_proj.weight` has shape [80, 48]"), "{error}");
    assert!(error.contains("calls for [1, 48]"), "{error}");
}

#[test]
fn bad_values_leave_the_former_model() {
    let home = home(&RandomModel { bf16: true, ..RandomModel::mini(5) });
    save(&home, 1.0).unwrap();
    let before = hash(&home.target);
    for (bad, reason) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        // Finite in f32, not in bf16.
        (f32::MAX, "BF16"),
    ] {
        let error = save(&home, bad).unwrap_err();
        assert!(matches!(error, SaveError::Weight { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let base = ModelDir::open(&home.base).unwrap();
    let short = |_: &str| Ok::<_, String>(vec![1.0]);
    let error = save_model(&home.target, &base, &[], short).unwrap_err().to_string();
    assert!(error.contains("1 values instead of"), "{error}");
    let failing = |_: &str| Err::<Vec<f32>, _>("the tensor is elsewhere");
    let error = save_model(&home.target, &base, &[], failing).unwrap_err().to_string();
    assert!(error.contains("the tensor is elsewhere"), "{error}");
    assert_eq!(hash(&home.target), before);
    assert_eq!(names(&home.parent), ["final_model"]);
}

#[test]
fn what_a_killed_writer_left_is_swept_and_a_living_ones_is_not() {
    let home = home(&RandomModel::mini(6));
    let dead = home.parent.join(".final_model.dead.partial");
    let living = home.parent.join(".final_model.living.partial");
    let other = home.parent.join(".final_model2.x.partial");
    for dir in [&dead, &living, &other] {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("model.safetensors"), "half").unwrap();
    }
    let lock = fs::File::open(&living).unwrap();
    lock.lock().unwrap();
    save(&home, 1.0).unwrap();
    assert!(!dead.exists() && living.exists() && other.exists());
}

#[test]
fn readers_find_a_whole_model_at_every_instant() {
    let home = home(&RandomModel::mini(7));
    save(&home, 1.0).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                // A directory held by handle may be removed while it is looked into; then another one is
                // at the path. What is at the path is whole.
                let held = fs::File::open(&home.target).unwrap();
                let inode = held.metadata().unwrap().ino();
                let dir = ModelDir::from_fd(held.into(), &home.target, Links::Inside);
                match check_opened(&dir) {
                    Ok(_) => looks += 1,
                    Err(e) => assert_ne!(inode, fs::metadata(&home.target).unwrap().ino(), "{e}"),
                }
            }
            looks
        });
        for n in 0..30 {
            save(&home, 1.0 + n as f32 / 100.0).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}
