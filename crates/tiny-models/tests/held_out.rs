//! No operands of a test question, in any order, occur in what the tiny models were trained on; and it is that text
//! still.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::HashSet;

use ptb_core::registry::Registry;
use sha2::{Digest, Sha256};
use tiny_models::{chats, plain_lines};

/// Operands, sorted: what "in any order" compares.
type Operands = Vec<u64>;

fn sorted(mut operands: Operands) -> Operands {
    operands.sort_unstable();
    operands
}

/// Every number of a text, in digits or words, in its order.
fn numbers(text: &str) -> Operands {
    const UNITS: &str = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen \
                         fifteen sixteen seventeen eighteen nineteen";
    const TENS: &str = "twenty thirty forty fifty sixty seventy eighty ninety";
    let unit = |w: &str| UNITS.split(' ').position(|u| u == w).map(|n| n as u64);
    let ten = |w: &str| TENS.split(' ').position(|t| t == w).map(|n| 10 * (n as u64 + 2));
    let word = |w: &str| match w.split_once('-') {
        Some((tens, ones)) => Some(ten(tens)? + unit(ones)?),
        None => w.parse().ok().or_else(|| unit(w)).or_else(|| ten(w)),
    };
    // "the younger one" is no number.
    let text = [" younger one", " older one", " shorter one"]
        .iter()
        .fold(text.to_lowercase(), |text, phrase| text.replace(phrase, " "));
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .flat_map(
            |w| if w.starts_with(char::is_alphabetic) { vec![w] } else { w.split('-').collect() },
        )
        .filter_map(word)
        .collect()
}

/// The operands of every calculation and comparison in a plain line, those of steps on the way, too: all the
/// numbers of each side but the result, and the first two of three.
fn operands_of_line(line: &str) -> Vec<Operands> {
    let line = line.rsplit(": ").next().unwrap();
    let mut found = Vec::new();
    for part in line.split(", ") {
        let sides: Vec<&str> = part.split(" = ").collect();
        assert!(sides.len() >= 2, "{line}");
        for side in &sides[..sides.len() - 1] {
            let all = numbers(side);
            if all.len() == 3 && !side.starts_with('m') {
                found.push(sorted(all[..2].to_vec()));
            }
            found.push(sorted(all));
        }
    }
    found
}

fn test_operands() -> HashSet<Operands> {
    let registry = Registry::load(&[]).unwrap();
    let benchmark = registry.benchmark("arithmetic").unwrap();
    let dataset = ptb_tasks::data::load(benchmark, None).unwrap();
    assert!(dataset.samples.len() >= 500);
    let all: HashSet<_> = dataset.samples.iter().map(|s| sorted(numbers(&s.question))).collect();
    assert_eq!(all.len(), dataset.samples.len(), "test questions have operands of their own");
    assert!(all.iter().all(|o| (2..=3).contains(&o.len())));
    all
}

#[test]
fn the_readers_of_this_test_read() {
    assert_eq!(numbers("Add forty-two to 7, then subtract twenty."), [42, 7, 20]);
    assert_eq!(numbers("Tom is 3 and Eve is six. How old is the younger one?"), [3, 6]);
    assert_eq!(operands_of_line("7+12 = 19, 19-7 = 12"), [vec![7, 12], vec![7, 19]]);
    assert_eq!(operands_of_line("max(9,3,5) = 9"), [[3, 5, 9]]);
    assert_eq!(operands_of_line("forty-two = 42"), [[42]]);
    let steps = [vec![12, 30], vec![5, 12, 30], vec![5, 42]];
    assert_eq!(operands_of_line("12 pears 30 in 5 out: 12+30-5 = 42-5 = 37"), steps);
}

/// The models of the repository were trained on texts of these hashes: another text would make other models.
#[test]
fn the_texts_are_those_that_the_models_were_trained_on() {
    let hash = |texts: &mut dyn Iterator<Item = String>| {
        let mut sha = Sha256::new();
        texts.for_each(|text| sha.update(text + "\n"));
        sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let lines = plain_lines(tiny_models::PRETRAINING_SEED).take(tiny_models::PRETRAINING_LINES);
    let chats = chats(tiny_models::CHATS_SEED).take(tiny_models::CHATS);
    let mut chats = chats.map(|chat| format!("{}\t{}", chat.question, chat.reply));
    let expected = [
        "e3f2de084ce273d4396d904f4eee23889a6dda2513326fdb2644c6a3fdd86ea8",
        "41d721b1698d72fe16890349ef4680295c2746234d1ad2b6dc261bd018bcd763",
    ];
    assert_eq!([hash(&mut { lines }), hash(&mut chats)], expected);
}

#[test]
fn pretraining_text_has_no_operands_of_the_test_split() {
    let test = test_operands();
    let lines: HashSet<String> =
        plain_lines(tiny_models::PRETRAINING_SEED).take(tiny_models::PRETRAINING_LINES).collect();
    assert!(lines.len() > 50_000, "{}", lines.len());
    for line in &lines {
        let noted = line.split_once(": ").map(|(note, _)| sorted(numbers(note)));
        for operands in operands_of_line(line).into_iter().chain(noted) {
            assert!(!test.contains(&operands), "{line}");
        }
    }
}

#[test]
fn chats_have_no_operands_of_the_test_split() {
    let test = test_operands();
    let all: HashSet<_> = chats(tiny_models::CHATS_SEED).take(tiny_models::CHATS).collect();
    assert!(all.len() > 10_000, "{}", all.len());
    for chat in &all {
        let operands = sorted(numbers(&chat.question));
        assert!((2..=3).contains(&operands.len()), "{chat:?}");
        assert!(!test.contains(&operands), "{chat:?}");
        for operands in operands_of_line(&chat.reply) {
            assert!(!test.contains(&operands), "{chat:?}");
        }
    }
}

#[test]
fn what_the_agent_sft_trains_on_has_no_operands_of_the_test_split() {
    let test = test_operands();
    for seed in 0..5 {
        let records = ptb_sft::arithmetic::records(seed, 8000);
        assert_eq!(records.len(), 8000);
        for record in &records {
            let ptb_sft::Record::Chat { messages } = record else { panic!("{record:?}") };
            let asked = sorted(numbers(&messages[0].content));
            assert!((2..=3).contains(&asked.len()) && !test.contains(&asked), "{record:?}");
            for operands in operands_of_line(&messages[1].content) {
                assert!(!test.contains(&operands), "{record:?}");
            }
        }
    }
}
