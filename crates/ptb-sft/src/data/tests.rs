use proptest::prelude::*;
use ptb_model::{RandomModel, random_model};

use super::*;
use crate::settings::TooLong;

fn encoder(max_length: usize, too_long: TooLong) -> Encoder {
    let home = tempfile::tempdir().unwrap();
    random_model(home.path(), &RandomModel::mini(1)).unwrap();
    Encoder::new(home.path(), max_length, too_long).unwrap()
}

fn read(text: &str, max_length: usize, too_long: TooLong) -> Result<Data, String> {
    Data::read_from(text.as_bytes(), "d.jsonl", &encoder(max_length, too_long))
        .map_err(|e| e.to_string())
}

const TURN: u32 = 257;
const TURN_END: u32 = 258;
const TEXT_END: u32 = 256;

/// Ids as text, what is learnt in brackets.
fn shown(example: &Example) -> String {
    let mut out = String::new();
    let mut before = false;
    for (id, learn) in example.ids.iter().zip(&example.learn) {
        match (before, *learn) {
            (false, true) => out.push('['),
            (true, false) => out.push(']'),
            _ => {}
        }
        before = *learn;
        match *id {
            TURN => out.push('<'),
            TURN_END => out.push('>'),
            TEXT_END => out.push('$'),
            byte => out.push(char::from(u8::try_from(byte).unwrap())),
        }
    }
    if before {
        out.push(']');
    }
    out
}

#[test]
fn what_is_learnt_in_each_form() {
    let text = concat!(
        r#"{"messages":[{"role":"system","content":"be"},{"role":"user","content":"1+1?"},"#,
        r#"{"role":"assistant","content":"2"},{"role":"user","content":"?"},"#,
        r#"{"role":"assistant","content":"3"}],"id":7}"#,
        "\n\n",
        r#"{"prompt":"a","completion":"bc"}"#,
        "\r\n",
        r#"{"text":"xyz"}"#,
    );
    let data = read(text, 1000, TooLong::Skip).unwrap();
    let shown: Vec<String> = data.examples.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "<system\nbe>\n<user\n1+1?>\n<assistant\n[2>]\n<user\n?>\n<assistant\n[3>]\n",
            "a[bc$]",
            "[xyz$]",
        ]
    );
    assert!(data.chat && data.examples[2].counted() == 3);
    assert!(!read(r#"{"text":"x"}"#, 9, TooLong::Skip).unwrap().chat);
}

#[test]
fn every_faulty_line_is_counted_and_the_first_are_named() {
    let lines = [
        ("{\"text\":\"fine\"}", ""),
        ("not json", "line 2: expected ident at column 2"),
        (
            "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
            "line 3: no message is the assistant's",
        ),
        (
            "{\"messages\":[{\"role\":\"robot\",\"content\":\"x\"}]}",
            "line 4: unknown variant `robot`",
        ),
        ("{\"prompt\":\"x\"}", "line 5: `prompt` has no `completion`"),
        ("{\"prompt\":\"x\",\"completion\":\"y\",\"text\":\"z\"}", "line 6: give either"),
        ("{}", ""),
        ("[1]", ""),
        ("{\"text\":\"\"}", ""),
    ];
    let text: Vec<&str> = lines.iter().map(|(line, _)| *line).collect();
    let message = read(&text.join("\n"), 100, TooLong::Skip).unwrap_err();
    assert!(message.starts_with("8 lines are faulty in d.jsonl\n"), "{message}");
    assert!(message.contains("\n  ...\nhint: "), "{message}");
    for (_, part) in lines {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(!message.contains("line 7"), "{message}");
    let nothing = read("{\"text\":\"\"}", 100, TooLong::Skip).unwrap_err();
    assert!(nothing.contains("line 1: there is nothing to learn in it"), "{nothing}");
    let empty = read("\n \n", 100, TooLong::Skip).unwrap_err();
    assert!(empty.contains("there is no example in d.jsonl"), "{empty}");
    let mut broken = b"{\"text\":\"".to_vec();
    broken.extend([0xff, 0xfe, b'"', b'}']);
    assert!(Data::read_from(&broken[..], "d", &encoder(10, TooLong::Skip)).is_err());
}

#[test]
fn arrays_are_no_records_and_hidden_characters_are_shown() {
    for (line, part) in [
        (r#"[null,"a","b",null]"#, "invalid type: sequence, expected an object"),
        (r#"{"messages":[["assistant","x"]]}"#, "invalid type: sequence, expected an object"),
        ("7", "expected an object"),
        ("{\"messages\":[{\"role\":\"a\u{202e}b\",\"content\":\"\"}]}", "variant `a\\u{202e}b`"),
        ("{\"text\":\"a\",\"text\":\"b\"}", "duplicate field `text`"),
    ] {
        let message = read(line, 100, TooLong::Skip).unwrap_err();
        assert!(message.contains(part), "{line}: {message}");
    }
}

#[test]
fn a_mark_of_the_encoding_is_passed_over_at_the_start_alone() {
    let line = "\u{feff}{\"text\":\"x\"}\n";
    assert_eq!(read(line, 100, TooLong::Skip).unwrap().examples.len(), 1);
    let twice = read(&line.repeat(2), 100, TooLong::Skip).unwrap_err();
    assert!(twice.contains("line 2: "), "{twice}");
    assert!(read("\u{feff}", 100, TooLong::Skip).unwrap_err().contains("there is no example"));
}

#[test]
fn data_that_are_no_regular_file_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let fifo = home.path().join("fifo");
    let (mode, kind) = (rustix::fs::Mode::RUSR, rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
    for path in [fifo.as_path(), home.path(), Path::new("/dev/zero")] {
        let refused = Data::read(path, &encoder(9, TooLong::Skip)).unwrap_err();
        assert!(refused.message.contains("no regular file"), "{refused}");
        assert_eq!(refused.exit_code(), 2);
    }
}

/// A file with a hole in it has that many bytes at no cost.
#[test]
fn more_data_than_can_be_held_are_refused_instead_of_cut() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("d.jsonl");
    std::fs::write(&path, "{\"text\":\"x\"}\n").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(TOTAL + 1).unwrap();
    let refused = Data::read(&path, &encoder(9, TooLong::Skip)).unwrap_err();
    let part = "d.jsonl has 8589934593 bytes, and at most 8589934592 are read";
    assert!(refused.message.ends_with(part), "{refused}");
    assert_eq!(refused.exit_code(), 2);
}

#[test]
fn too_long_ones_are_skipped_or_cut_and_counted() {
    let text = "{\"text\":\"abc\"}\n{\"text\":\"abcdefgh\"}\n{\"prompt\":\"abcdefgh\",\"completion\":\"i\"}";
    let skipped = read(text, 4, TooLong::Skip).unwrap();
    assert_eq!((skipped.examples.len(), skipped.skipped, skipped.cut), (1, 2, 0));
    let cut = read(text, 4, TooLong::Cut).unwrap();
    assert_eq!((cut.examples.len(), cut.skipped, cut.cut), (2, 1, 1));
    assert_eq!(shown(&cut.examples[1]), "[abcd]");
    let all = read("{\"text\":\"abcdefgh\"}", 4, TooLong::Skip).unwrap_err();
    assert!(all.contains("all 1 examples in d.jsonl are longer than 4 tokens"), "{all}");
}

#[test]
fn a_share_is_held_back_by_the_seed() {
    let lines: String = (0..50).map(|i| format!("{{\"text\":\"number {i}\"}}\n")).collect();
    let whole = read(&lines, 100, TooLong::Skip).unwrap();
    let mut data = whole.clone();
    let back = data.hold_back(0.1, 7);
    assert_eq!((back.len(), data.examples.len()), (5, 45));
    assert!(back.iter().all(|e| !data.examples.contains(e)));
    assert_eq!(whole.clone().hold_back(0.1, 7), back);
    assert_ne!(whole.clone().hold_back(0.1, 8), back);
    assert_eq!(whole.clone().hold_back(0.001, 7).len(), 1);
    assert_eq!(whole.clone().hold_back(1.0, 7).len(), 49);
    assert!(whole.clone().hold_back(0.0, 7).is_empty());
    assert_ne!(data.hash(), whole.hash());
}

proptest! {
    #[test]
    fn no_line_panics(line in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Record::parse(line.as_bytes());
        let _ = Record::parse(&bytes);
    }

    #[test]
    fn any_text_is_learnt_whole(content in ".{1,40}") {
        let record = Record::question("q", content.clone());
        let line = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(&Record::parse(line.as_bytes()).unwrap(), &record);
        let encoder = encoder(1000, TooLong::Skip);
        let example = encoder.encode(&record).unwrap().example.unwrap();
        let learnt: Vec<u32> = example.ids.iter().zip(&example.learn)
            .filter(|(_, l)| **l).map(|(id, _)| *id).collect();
        let expected: Vec<u32> = content.bytes().map(u32::from).chain([TURN_END]).collect();
        prop_assert_eq!(learnt, expected);
    }
}
