//! A table of submissions and what the facts say of each.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::architecture;
use ptb_core::run::{Mark, Submission};
use ptb_judge::{Submitted, decide, gather};
use ptb_model::{RandomModel, random_model};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn submissions_get_the_marks_they_deserve() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { temporary.path().join(name) };
    random_model(at("base"), &RandomModel::mini(1)).unwrap();
    random_model(at("instruct"), &RandomModel::mini(2)).unwrap();
    random_model(at("trained"), &RandomModel::mini(3)).unwrap();
    random_model(at("other"), &RandomModel { num_layers: 3, ..RandomModel::mini(3) }).unwrap();
    copy(&at("trained"), &at("cut"));
    let weights = at("cut").join("model.safetensors");
    let length = fs::metadata(&weights).unwrap().len();
    fs::OpenOptions::new().write(true).open(&weights).unwrap().set_len(length / 2).unwrap();
    copy(&at("trained"), &at("renamed"));
    let config = fs::read_to_string(at("renamed").join("config.json")).unwrap();
    fs::write(
        at("renamed").join("config.json"),
        config.replace("Qwen3ForCausalLM", "OtherForCausalLM"),
    )
    .unwrap();

    let cases = [
        ("trained", Submission::Final, None),
        ("base", Submission::Final, None),
        ("instruct", Submission::Final, Some(Mark::Judged)),
        ("other", Submission::Final, Some(Mark::Judged)),
        ("cut", Submission::Final, Some(Mark::EvaluationFailed)),
        ("renamed", Submission::Final, Some(Mark::EvaluationFailed)),
        ("trained", Submission::None, Some(Mark::NotSubmitted)),
        ("missing", Submission::Final, Some(Mark::EvaluationFailed)),
    ];
    for (name, submission, expected) in cases {
        let evidence = gather(&Submitted {
            end: "finished",
            submission: &submission,
            dir: &at(name),
            base: &at("base"),
            instruct: Some(&at("instruct")),
            architecture: &architecture(&RandomModel::mini(1)),
        })
        .unwrap();
        assert_eq!(decide(&evidence, false).mark, expected, "{name} {submission:?}: {evidence:#?}");
        assert_eq!(decide(&evidence, true).mark, None);
    }
}

#[test]
fn an_unreadable_base_model_is_our_fault_and_no_mark() {
    let temporary = tempfile::tempdir().unwrap();
    let model = temporary.path().join("m");
    random_model(&model, &RandomModel::mini(1)).unwrap();
    let missing = temporary.path().join("gone");
    let submitted = Submitted {
        end: "finished",
        submission: &Submission::Final,
        dir: &model,
        base: &missing,
        instruct: None,
        architecture: &architecture(&RandomModel::mini(1)),
    };
    assert!(gather(&submitted).unwrap_err().contains("base model"));
}

#[test]
fn models_of_ours_may_be_made_of_links() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    random_model(at("blobs"), &RandomModel::mini(1)).unwrap();
    fs::create_dir(at("snapshot")).unwrap();
    for entry in fs::read_dir(at("blobs")).unwrap() {
        let name = entry.unwrap().file_name();
        let target = at("blobs").join(&name);
        std::os::unix::fs::symlink(target, at("snapshot").join(name)).unwrap();
    }
    let architecture = architecture(&RandomModel::mini(1));
    let mark = |submission: &Submission| {
        let (dir, base) = (&at("snapshot"), &at("snapshot"));
        let submitted = Submitted {
            end: "finished",
            submission,
            dir,
            base,
            instruct: Some(dir),
            architecture: &architecture,
        };
        gather(&submitted).unwrap().into_iter().find_map(|e| e.mark)
    };
    assert_eq!(mark(&Submission::Known("base".into())), None);
    // The same folder from an agent leads out of itself.
    assert_eq!(mark(&Submission::Final), Some(Mark::EvaluationFailed));
}
