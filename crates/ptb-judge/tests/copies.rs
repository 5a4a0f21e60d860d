//! A table of models made from a base model and its instruct counterpart, and whether each is told apart.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use ptb_core::registry::Architecture;
use ptb_core::run::{Evidence, Mark, Submission};
use ptb_judge::{Submitted, gather};
use ptb_model::{Checkpoint, ModelDir, RandomModel, expected_tensors, random_model};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

const EMBEDDING: &str = "model.embed_tokens.weight";

/// Values and shape of each tensor.
type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn shape() -> RandomModel {
    // Real models are published as bf16.
    RandomModel { bf16: true, ..RandomModel::mini(0) }
}

fn architecture() -> Architecture {
    common::architecture(&shape())
}

struct Zoo(tempfile::TempDir);

impl Zoo {
    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn random(&self, name: &str, seed: u64) -> Weights {
        random_model(self.at(name), &RandomModel { seed, ..shape() }).unwrap();
        let checkpoint = Checkpoint::open(&ModelDir::open(self.at(name)).unwrap()).unwrap();
        let read = |name: &String| checkpoint.read_f32(name).unwrap();
        checkpoint.tensors().iter().map(|(n, t)| (n.clone(), (t.shape.clone(), read(n)))).collect()
    }

    /// A model with these weights and the files of `base`.
    fn write(&self, name: &str, weights: &Weights, dtype: Dtype) {
        fs::create_dir(self.at(name)).unwrap();
        for entry in fs::read_dir(self.at("base")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, self.at(name).join(path.file_name().unwrap())).unwrap();
        }
        let bytes: Vec<Vec<u8>> = weights
            .values()
            .map(|(_, values)| match dtype {
                Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
                _ => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            })
            .collect();
        let views = weights.iter().zip(&bytes).map(|((name, (shape, _)), b)| {
            (name, TensorView::new(dtype, shape.clone(), b).unwrap())
        });
        let file = safetensors::serialize(views, None).unwrap();
        fs::write(self.at(name).join("model.safetensors"), file).unwrap();
    }

    fn rows(&self, name: &str, weights: &Weights, rows: usize) {
        let mut weights = weights.clone();
        let (shape, values) = weights.get_mut(EMBEDDING).unwrap();
        let width = shape[1];
        values.resize(rows * width, 0.5);
        shape[0] = rows;
        self.write(name, &weights, Dtype::F32);
        edit(
            &self.at(name).join("config.json"),
            "\"vocab_size\": 288",
            &format!("\"vocab_size\": {rows}"),
        );
    }

    fn facts(&self, name: &str, instruct: &str) -> Vec<Evidence> {
        gather(&Submitted {
            end: "finished",
            submission: &Submission::Final,
            dir: &self.at(name),
            base: &self.at("base"),
            instruct: Some(&self.at(instruct)),
            architecture: &architecture(),
        })
        .unwrap()
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn with(weights: &Weights, change: impl Fn(usize, &str, &mut Vec<f32>)) -> Weights {
    let mut weights = weights.clone();
    weights.iter_mut().enumerate().for_each(|(i, (name, (_, values)))| change(i, name, values));
    weights
}

fn flip(value: &mut f32) {
    *value = f32::from_bits(value.to_bits() ^ (1 << 20));
}

/// Each model of the table, and whether it is the instruct model's copy (of which one).
fn models(zoo: &Zoo) -> Vec<(&'static str, &'static str, bool)> {
    let base = zoo.random("base", 1);
    let instruct = zoo.random("instruct", 2);
    let zeros = || (vec![0, 4], Vec::new());
    let as_instruct = |n: &str, v: &mut Vec<f32>| v.clone_from(&instruct[n].1);

    for (name, dtype) in [("as f32", Dtype::F32), ("as f16", Dtype::F16)] {
        zoo.write(name, &instruct, dtype);
    }
    zoo.write(
        "one bit",
        &with(&instruct, |i, _, v| {
            if i == 3 {
                flip(&mut v[0])
            }
        }),
        Dtype::F32,
    );
    zoo.write("a bit in each", &with(&instruct, |_, _, v| flip(&mut v[0])), Dtype::F32);
    let mut extra = instruct.clone();
    extra.insert("unused.weight".into(), (vec![100], vec![0.5; 100]));
    zoo.write("one more tensor", &extra, Dtype::F32);
    extra.extend((0..120_000).map(|i| (format!("e{i}"), zeros())));
    zoo.write("a crowd of tensors", &extra, Dtype::F32);
    let mut head = instruct.clone();
    head.insert("lm_head.weight".into(), instruct[EMBEDDING].clone());
    zoo.write("head beside tied embedding", &head, Dtype::F32);
    zoo.write("own head", &head, Dtype::F32);
    let config = zoo.at("own head").join("config.json");
    edit(&config, "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    zoo.rows("more rows", &instruct, 293);
    zoo.rows("fewer rows", &instruct, 283);
    let half = with(&base, |i, n, v| {
        if i % 2 == 0 {
            as_instruct(n, v)
        }
    });
    zoo.write("half of instruct", &half, Dtype::F32);

    let third = with(&base, |i, n, v| {
        if i % 3 == 0 {
            as_instruct(n, v)
        }
    });
    zoo.write("a third of instruct", &third, Dtype::F32);
    zoo.write(
        "trained",
        &with(&base, |_, _, v| v.iter_mut().for_each(|x| *x *= 1.01)),
        Dtype::BF16,
    );
    let few = with(&base, |i, _, v| {
        if i % 5 == 0 {
            v.iter_mut().for_each(|x| *x += 0.1)
        }
    });
    zoo.write("few trained", &few, Dtype::F32);
    let blend = |n: &str, v: &mut Vec<f32>| {
        v.iter_mut().zip(&instruct[n].1).for_each(|(a, b)| *a = 0.5 * *a + 0.5 * b);
    };
    zoo.write("blend", &with(&base, |_, n, v| blend(n, v)), Dtype::F32);
    zoo.write("base as f32", &base, Dtype::F32);
    // Post-training that touched two tensors of 24: all else is everybody's.
    let light = with(&base, |i, n, v| {
        if i < 2 {
            as_instruct(n, v)
        }
    });
    zoo.write("light instruct", &light, Dtype::F32);
    zoo.write("light copy", &light, Dtype::BF16);

    vec![
        ("instruct", "instruct", true),
        ("as f32", "instruct", true),
        ("as f16", "instruct", true),
        ("one bit", "instruct", true),
        ("a bit in each", "instruct", true),
        ("one more tensor", "instruct", true),
        ("a crowd of tensors", "instruct", true),
        ("head beside tied embedding", "instruct", true),
        ("own head", "instruct", true),
        ("more rows", "instruct", true),
        ("fewer rows", "instruct", true),
        ("half of instruct", "instruct", true),
        ("light copy", "light instruct", true),
        ("base", "instruct", false),
        ("base as f32", "instruct", false),
        ("a third of instruct", "instruct", false),
        ("trained", "instruct", false),
        ("few trained", "instruct", false),
        ("few trained", "light instruct", false),
        ("trained", "light instruct", false),
        ("base", "light instruct", false),
        // An instruct model that is the base model belongs to everybody.
        ("base", "base as f32", false),
        // Known blind spot, which lineage has to see.
        ("blend", "instruct", false),
    ]
}

#[test]
fn the_instruct_model_is_known_in_its_disguises_and_honest_models_are_not_taken_for_it() {
    let zoo = Zoo(tempfile::tempdir().unwrap());
    for (name, instruct, copied) in models(&zoo) {
        let facts = zoo.facts(name, instruct);
        let marks: Vec<Mark> = facts.iter().filter_map(|e| e.mark).collect();
        let expected = if copied { vec![Mark::Judged] } else { vec![] };
        assert_eq!(marks, expected, "{name} against {instruct}: {facts:#?}");
        if copied {
            let check = facts.iter().find(|e| e.mark.is_some()).map(|e| e.check.as_str());
            assert_eq!(check, Some("identity"), "{name}");
        }
    }
}

#[test]
fn tensors_are_counted_over_the_base_model_and_over_what_instruct_changed() {
    let zoo = Zoo(tempfile::tempdir().unwrap());
    models(&zoo);
    let all = expected_tensors(&shape().config()).len();
    let identity = |name: &str, instruct: &str| -> Vec<String> {
        let facts = zoo.facts(name, instruct).into_iter();
        facts.filter(|e| e.check == "identity").map(|e| e.fact).collect()
    };
    let told = |like: usize, instruct: usize, changed: usize| {
        vec![
            format!("{like} of {all} tensors equal the base model's"),
            format!(
                "{instruct} of {changed} tensors that the official instruct model changed are as it has them"
            ),
        ]
    };
    let fifth = all.div_ceil(5);
    assert_eq!(identity("base", "instruct"), told(all, 0, all));
    assert_eq!(identity("base as f32", "instruct"), told(all, 0, all));
    assert_eq!(identity("a crowd of tensors", "instruct"), told(0, all, all));
    assert_eq!(identity("one bit", "instruct"), told(0, all, all));
    assert_eq!(identity("half of instruct", "instruct"), told(all / 2, all / 2, all));
    assert_eq!(identity("few trained", "instruct"), told(all - fifth, 0, all));
    assert_eq!(identity("light copy", "light instruct"), told(all - 2, 2, 2));
    assert_eq!(identity("base", "base as f32"), told(all, 0, 0));
}

#[test]
fn what_a_config_says_is_quoted_without_its_control_characters() {
    let zoo = Zoo(tempfile::tempdir().unwrap());
    models(&zoo);
    let config = zoo.at("trained").join("config.json");
    edit(&config, "Qwen3ForCausalLM", r"Odd\u001b[2J\u202eForCausalLM");
    let facts = zoo.facts("trained", "instruct");
    let fault = facts.iter().find(|e| e.mark.is_some()).unwrap();
    assert!(fault.fact.contains(r"Odd\u{1b}[2J\u{202e}ForCausalLM"), "{}", fault.fact);
    assert!(!fault.fact.contains(['\u{1b}', '\u{202e}']));
}
