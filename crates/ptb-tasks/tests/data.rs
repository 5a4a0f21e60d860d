//! Data files as users have them: every source, every way of being broken.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use ptb_core::registry::{Benchmark, Entry, Registry};
use ptb_tasks::TaskError;
use ptb_tasks::data::hub::HubCache;
use ptb_tasks::data::{Dataset, load, load_with};
use ptb_tasks::prompt::Prompter;

fn gsm8k() -> Entry<Benchmark> {
    Registry::load(&[]).unwrap().benchmark("gsm8k").unwrap().clone()
}

const GOOD: &str = "{\"question\":\"1+1?\",\"answer\":\"One and one.\\n#### 2\"}\n";

fn load_text(text: impl AsRef<[u8]>) -> Result<Dataset, TaskError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.jsonl");
    fs::write(&path, text).unwrap();
    load(&gsm8k(), Some(&path))
}

#[test]
fn a_folder_and_a_file_are_the_same_data() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("test.jsonl"), format!("{GOOD}\r\n{}", GOOD.replace('2', "1,002")))
        .unwrap();
    fs::write(dir.path().join("train.jsonl"), GOOD.replace('2', "-3")).unwrap();
    let folder = load(&gsm8k(), Some(dir.path())).unwrap();
    let file = load(&gsm8k(), Some(&dir.path().join("test.jsonl"))).unwrap();
    assert_eq!(folder.samples, file.samples);
    assert_eq!(folder.sha256, file.sha256);
    let facts: Vec<_> =
        folder.samples.iter().map(|s| (s.id.as_str(), s.line, s.target.as_str())).collect();
    assert_eq!(facts, [("1", 1, "2"), ("3", 3, "1,002")]);
    assert_eq!(folder.samples[0].reasoning.as_deref(), Some("One and one."));
    assert_eq!(file.train().unwrap()[0].target, "-3");
}

#[test]
fn the_train_split_is_asked_for_only_by_few_shot_prompts() {
    let dataset = load_text(GOOD).unwrap();
    let mut zero_shot = gsm8k();
    zero_shot.value.prompt.few_shot = None;
    let prompt =
        Prompter::new(&zero_shot, &dataset).unwrap().messages(&dataset.samples[0]).unwrap();
    assert!(prompt[1].content.contains("1+1?"));
    let e = Prompter::new(&gsm8k(), &dataset).unwrap_err().to_string();
    assert!(e.contains("train.jsonl") && e.contains("hint:"), "{e}");
}

#[test]
fn a_short_train_split_and_misspelt_templates_are_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("test.jsonl"), GOOD).unwrap();
    fs::write(dir.path().join("train.jsonl"), GOOD).unwrap();
    let dataset = load(&gsm8k(), Some(dir.path())).unwrap();
    let e = Prompter::new(&gsm8k(), &dataset).unwrap_err().to_string();
    assert!(e.contains("few-shot row 3082 is not in the train split, which has 1 rows"), "{e}");
    let mut misspelt = gsm8k();
    misspelt.value.prompt.few_shot = None;
    misspelt.value.prompt.messages[1].content = "{{ qestion }}".to_owned();
    // Before anything is asked, where the name is; what only filling in shows, by the sample.
    let e = Prompter::new(&misspelt, &dataset).unwrap_err().to_string();
    assert!(e.contains("no variable `qestion`") && e.contains("hint: correct it in"), "{e}");
    misspelt.value.prompt.messages[1].content = "{{ question.text }}".to_owned();
    let prompter = Prompter::new(&misspelt, &dataset).unwrap();
    let e = prompter.messages(&dataset.samples[0]).unwrap_err().to_string();
    assert!(e.contains("fill in message 2 for sample 1") && e.contains("hint:"), "{e}");
}

#[test]
fn broken_files_name_file_line_and_fault() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "it has no records"),
        (b"\n\n", "it has no records"),
        (b"{\"question\":\"a\"}", "test.jsonl:1: the record has no field `answer`"),
        (b"{\"question\":1,\"answer\":\"#### 1\"}", "test.jsonl:1: the field `question` holds a number, not a string"),
        (b"{\"question\":\"a\",\"answer\":[1,2]}", "test.jsonl:1: the field `answer` holds a list, not a string or a number"),
        (b"{\"question\":\"a\",\"answer\":\"18\"}", "test.jsonl:1: the field `answer` has no `####` before its answer"),
        (b"{\"question\":\"a\",\"answer\":\"#### x\"}", "test.jsonl:1: cannot score against the target `x`"),
        (b"\n\n{\"question\":\"a\",\"answer\":\"#### 1\"", "test.jsonl:3: the line is not JSON"),
        (b"[]", "test.jsonl:1: the line holds a list, not an object"),
        (b"\xff\xfe{}", "test.jsonl:1: the line is not UTF-8 text"),
        (b"{\"id\":\"a\",\"question\":\"a\",\"answer\":\"#### 1\"}\n{\"id\":\"a\",\"question\":\"a\",\"answer\":\"#### 1\"}",
         "test.jsonl:2: the id `a` is that of line 1 as well"),
        (b"{\"id\":\"2\",\"question\":\"a\",\"answer\":\"#### 1\"}\n{\"question\":\"a\",\"answer\":\"#### 1\"}",
         "test.jsonl:2: the id `2` is that of line 1 as well"),
        (b"{\"id\":true,\"question\":\"a\",\"answer\":\"#### 1\"}", "test.jsonl:1: the field `id` holds a boolean"),
    ];
    for (text, expected) in cases {
        let e = load_text(text).unwrap_err().to_string();
        assert!(e.contains(expected) && e.contains("hint:"), "{e} instead of {expected}");
    }
}

#[test]
fn crlf_and_a_mark_change_nothing_but_the_hash() {
    let plain = load_text(GOOD).unwrap();
    let marked = load_text(format!("\u{feff}{}", GOOD.replace('\n', "\r\n"))).unwrap();
    assert_eq!(plain.samples, marked.samples);
    assert_ne!(plain.sha256, marked.sha256);
}

#[test]
fn what_is_not_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let e = load(&gsm8k(), Some(dir.path())).unwrap_err().to_string();
    assert!(e.contains("the folder has no test.jsonl; hint:"), "{e}");
    let e = load(&gsm8k(), Some(&dir.path().join("x.jsonl"))).unwrap_err().to_string();
    assert!(e.contains("x.jsonl") && e.contains("hint:"), "{e}");
    let e = load(&gsm8k(), Some(Path::new("/dev/zero"))).unwrap_err().to_string();
    assert!(e.contains("not a regular file"), "{e}");
}

fn write_parquet(path: &Path, rows: &[(&str, &str)]) {
    let schema = "message schema { REQUIRED BYTE_ARRAY question (UTF8); REQUIRED BYTE_ARRAY answer (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = fs::File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::default())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for column in 0..2 {
        let pick = |r: &(&str, &str)| ByteArray::from(if column == 0 { r.0 } else { r.1 });
        let values: Vec<ByteArray> = rows.iter().map(pick).collect();
        let mut writer = group.next_column().unwrap().unwrap();
        writer.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        writer.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_and_json_lines_give_the_same_samples() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test-00000-of-00001.parquet");
    write_parquet(&path, &[("1+1?", "One and one.\n#### 2"), ("Señor?", "x #### 1,002")]);
    let parquet = load(&gsm8k(), Some(&path)).unwrap();
    let text = format!("{GOOD}{{\"question\":\"Señor?\",\"answer\":\"x #### 1,002\"}}");
    assert_eq!(parquet.samples, load_text(text).unwrap().samples);
}

#[test]
fn damaged_parquet_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let rows: Vec<(&str, &str)> = vec![("question", "because #### 1"); 50];
    write_parquet(&path, &rows);
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).unwrap();
        let e = load(&gsm8k(), Some(&path)).unwrap_err().to_string();
        assert!(e.contains("not a whole Parquet file"), "{e}");
    }
}

#[test]
fn the_generated_benchmark_is_whole() {
    let registry = Registry::load(&[]).unwrap();
    let benchmark = registry.benchmark("arithmetic").unwrap();
    let dataset = load(benchmark, None).unwrap();
    let generator = benchmark.value.data.generator.as_ref().unwrap();
    assert_eq!(
        (dataset.samples.len(), dataset.train().unwrap().len()),
        (generator.test, generator.train)
    );
    assert!(dataset.samples.len() >= 300);
    assert_eq!(dataset.sha256, load(benchmark, None).unwrap().sha256);
    let prompter = Prompter::new(benchmark, &dataset).unwrap();
    let first = prompter.messages(&dataset.samples[0]).unwrap();
    insta::assert_json_snapshot!(first);
}

/// Both splits of GSM8K where `hf download` puts them: a branch that names a commit, or the pinned commit itself; files
/// in its snapshot.
#[test]
fn the_hub_cache_gives_both_splits() {
    const COMMIT: &str = "cc7b047b6e5bb11b4f1af84efc572db110a51b3c";
    let at = |revision: &str| {
        let mut benchmark = gsm8k();
        let hub = benchmark.value.data.hub.as_mut().unwrap();
        assert_eq!(hub.revision, COMMIT);
        hub.revision = revision.to_owned();
        (hub.test_sha256, hub.train_sha256) = (None, None);
        benchmark
    };
    for revision in ["main", COMMIT] {
        let benchmark = at(revision);
        let dir = tempfile::tempdir().unwrap();
        let cache = HubCache::at(dir.path());
        let e = load_with(&benchmark, None, &cache).unwrap_err().to_string();
        let file = "main/test-00000-of-00001.parquet";
        let command =
            format!("hf download openai/gsm8k {file} --repo-type dataset --revision {revision}");
        assert!(e.contains(&command), "{e}");
        let repo = dir.path().join("datasets--openai--gsm8k");
        let snapshot = repo.join("snapshots").join(COMMIT).join("main");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(repo.join("refs")).unwrap();
        fs::write(repo.join("refs/main"), COMMIT).unwrap();
        write_parquet(&snapshot.join("test-00000-of-00001.parquet"), &[("1+1?", "#### 2")]);
        let dataset = load_with(&benchmark, None, &cache).unwrap();
        assert_eq!(dataset.samples[0].target, "2");
        let e = dataset.train().unwrap_err().to_string();
        assert!(e.contains("main/train-00000-of-00001.parquet"), "{e}");
        write_parquet(&snapshot.join("train-00000-of-00001.parquet"), &[("1+2?", "#### 3")]);
        assert_eq!(dataset.train().unwrap()[0].target, "3");
    }
}

/// The real file's hash is in the benchmark's file: another file in its place, a part of it too, is refused before it
/// is read; data of the user's own are not held to it.
#[test]
fn a_file_of_the_hub_must_be_the_one_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut benchmark = gsm8k();
    let hub = benchmark.value.data.hub.clone().unwrap();
    let snapshot = dir.path().join("datasets--openai--gsm8k/snapshots").join(&hub.revision);
    fs::create_dir_all(snapshot.join("main")).unwrap();
    let [test, train] = [&hub.test, hub.train.as_ref().unwrap()].map(|file| snapshot.join(file));
    write_parquet(&test, &[("1+1?", "#### 2")]);
    write_parquet(&train, &[("1+2?", "#### 3")]);
    let sha256 = |path: &Path| Some(ptb_core::files::sha256_file(path).unwrap());
    let cache = HubCache::at(dir.path());
    let e = load_with(&benchmark, None, &cache).unwrap_err().to_string();
    let told = format!(
        "its SHA-256 is {} instead of {}",
        sha256(&test).unwrap(),
        hub.test_sha256.unwrap()
    );
    assert!(e.contains(&told) && e.contains("hint: remove it and fetch it again"), "{e}");
    assert_eq!(load(&benchmark, Some(&test)).unwrap().samples.len(), 1);
    benchmark.value.data.hub.as_mut().unwrap().test_sha256 = sha256(&test);
    let dataset = load_with(&benchmark, None, &cache).unwrap();
    assert_eq!(dataset.sha256, sha256(&test).unwrap());
    let e = dataset.train().unwrap_err().to_string();
    assert!(e.contains("train-00000") && e.contains(&hub.train_sha256.unwrap()), "{e}");
    benchmark.value.data.hub.as_mut().unwrap().train_sha256 = sha256(&train);
    assert_eq!(load_with(&benchmark, None, &cache).unwrap().train().unwrap().len(), 1);
    fs::write(&test, "").unwrap();
    let e = load_with(&benchmark, None, &cache).unwrap_err().to_string();
    assert!(e.contains("it is not the file that the benchmark gsm8k names"), "{e}");
}

/// What a benchmark's data says, wrong in every column that it names.
#[test]
fn wrong_columns_are_named_with_their_line() {
    let gpqa = r#"{"Record ID":"r","Question":"q","Correct Answer":"a","Incorrect Answer 1":"b","Incorrect Answer 2":"c","Incorrect Answer 3":"d"}"#;
    let humaneval = r#"{"task_id":"T/0","prompt":"def f():\n","entry_point":"f","canonical_solution":"    pass","test":"def check(c): pass"}"#;
    let bfcl = r#"{"id":"e_0","question":[[{"role":"user","content":"q"}]],"function":[{"name":"f","parameters":{"type":"dict","properties":{}}}],"ground_truth":["f(a=1)"]}"#;
    let aime = r#"{"id":"0","problem":"p","answer":7}"#;
    let cases = [
        ("gpqamain", gpqa, "\"Record ID\"", "\"id\"", "the record has no field `Record ID`"),
        (
            "gpqamain",
            gpqa,
            "Incorrect Answer 2",
            "Wrong 2",
            "the record has no field `Incorrect Answer 2`",
        ),
        (
            "gpqamain",
            gpqa,
            ":\"d\"",
            ":4",
            "the field `Incorrect Answer 3` holds a number, not a string",
        ),
        (
            "gpqamain",
            gpqa,
            ":\"a\"",
            ":null",
            "the field `Correct Answer` holds null, not a string or a number",
        ),
        (
            "humaneval",
            humaneval,
            "\"test\"",
            "\"tests\"",
            "the field `test` is not there, or not a text",
        ),
        ("humaneval", humaneval, "\"f\"", "\"f()\"", "it is not the name of a Python function"),
        ("humaneval", humaneval, "task_id", "task", "the record has no field `task_id`"),
        ("bfcl", bfcl, "[[{\"role\"", "[[{\"roel\"", "the field `question` holds no conversation"),
        ("bfcl", bfcl, "\"user\"", "\"robot\"", "the field `question` holds no conversation"),
        (
            "bfcl",
            bfcl,
            "[[{\"role\":\"user\",\"content\":\"q\"}]]",
            "[[]]",
            "the conversation in the field `question` is empty",
        ),
        (
            "bfcl",
            bfcl,
            "[[{\"role\":\"user\",\"content\":\"q\"}]]",
            "\"q\"",
            "the field `question` holds no conversation",
        ),
        ("bfcl", bfcl, "\"parameters\"", "\"params\"", "a function without `name` or `parameters`"),
        (
            "bfcl",
            bfcl,
            "[\"f(a=1)\"]",
            "[\"f(a=1)\",\"g()\"]",
            "the field `ground_truth` holds a list, not a string or a number",
        ),
        (
            "bfcl",
            bfcl,
            "f(a=1)",
            "f(a=b)",
            "cannot score against the target `f(a=b)`: a value is not a literal",
        ),
        (
            "bfcl",
            bfcl,
            "f(a=1)",
            "f(a=",
            "cannot score against the target `f(a=`: it is not Python",
        ),
        ("aime2025", aime, "7", "[7,8]", "the field `answer` holds a list"),
        ("aime2025", aime, ":7", ":\"seven\"", "cannot score against the target `seven`"),
        ("aime2025", aime, "problem", "question", "the record has no field `problem`"),
    ];
    let registry = Registry::load(&[]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.jsonl");
    for (id, good, part, wrong, told) in cases {
        let entry = registry.benchmark(id).unwrap();
        fs::write(&path, good).unwrap();
        assert_eq!(load(entry, Some(&path)).unwrap().samples.len(), 1, "{id}");
        assert!(good.contains(part), "{part}");
        fs::write(&path, format!("\n{}", good.replace(part, wrong))).unwrap();
        let e = load(entry, Some(&path)).unwrap_err().to_string();
        assert!(
            e.contains("test.jsonl:2: ") && e.contains(told) && e.contains("hint:"),
            "{e} instead of {told}"
        );
        // Cut off in the middle, and the same record twice.
        fs::write(&path, format!("{good}\n{}", &good[..good.len() / 2])).unwrap();
        let e = load(entry, Some(&path)).unwrap_err().to_string();
        assert!(e.contains("test.jsonl:2: the line is not JSON") && e.contains("hint:"), "{e}");
        fs::write(&path, format!("{good}\n{good}")).unwrap();
        let e = load(entry, Some(&path)).unwrap_err().to_string();
        assert!(
            e.contains("test.jsonl:2: the id `") && e.contains("is that of line 1 as well"),
            "{e}"
        );
    }
}

#[test]
fn broken_csv_names_its_line() {
    let head = "Record ID,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n";
    let row = "r1,\"q,\nmore\",a,b,c,d\n";
    let cases: &[(Vec<u8>, &str)] = &[
        (Vec::new(), "it has no records"),
        (head.into(), "it has no records"),
        (
            format!("{head}{row}r2,q,a,b,c\n").into(),
            "gpqa_main.csv:4: the row has 5 columns instead of 6",
        ),
        (
            format!("{head}{row}r1,q,a,b,c,d\n").into(),
            "gpqa_main.csv:4: the id `r1` is that of line 2 as well",
        ),
        (
            [head.as_bytes(), row.as_bytes(), b"r2,\xff,a,b,c,d\n"].concat(),
            "gpqa_main.csv:4: the row is not UTF-8 text",
        ),
        ([b"\xff,", head.as_bytes(), row.as_bytes()].concat(), "the row is not UTF-8 text"),
        (
            format!("{}{row}", head.replace("Question", "Frage")).into(),
            "gpqa_main.csv:2: the record has no field `Question`",
        ),
        (
            format!("{}{row}", head.replace("Question", "Record ID")).into(),
            "the column `Record ID` is there twice",
        ),
        ("r1,q,a,b,c,d\nr2,q,a,b,c,d\n".into(), "gpqa_main.csv:2: the record has no field"),
    ];
    let registry = Registry::load(&[]).unwrap();
    let gpqa = registry.benchmark("gpqamain").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gpqa_main.csv");
    for (text, told) in cases {
        fs::write(&path, text).unwrap();
        let e = load(gpqa, Some(&path)).unwrap_err().to_string();
        assert!(e.contains(told) && e.contains("hint:"), "{e} instead of {told}");
    }
    fs::write(&path, format!("\u{feff}{head}{row}").replace('\n', "\r\n")).unwrap();
    let sample = load(gpqa, Some(dir.path())).unwrap().asked_under(42)[0].clone();
    assert_eq!(
        (sample.question.as_str(), sample.id.as_str(), sample.line),
        ("q,\r\nmore", "r1", 2)
    );
    assert_eq!(sample.choices.len(), 4);
    assert_eq!(sample.choices["ABCD".find(&sample.target).unwrap()], "a");
}

#[test]
fn folders_hold_files_under_their_real_names() {
    let registry = Registry::load(&[]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let humaneval = registry.benchmark("humaneval").unwrap();
    let e = load(humaneval, Some(dir.path())).unwrap_err().to_string();
    assert!(e.contains("the folder has no test.jsonl") && e.contains("HumanEval.jsonl"), "{e}");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../registry/benchmarks/humaneval/sample.jsonl");
    fs::copy(&sample, dir.path().join("HumanEval.jsonl")).unwrap();
    assert_eq!(load(humaneval, Some(dir.path())).unwrap().samples.len(), 5);
    // A file of the name that is asked for first wins.
    fs::write(dir.path().join("test.jsonl"), "").unwrap();
    assert!(load(humaneval, Some(dir.path())).is_err());
}
