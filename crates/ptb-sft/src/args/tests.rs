use super::*;

fn parsed(line: &str) -> Result<Command, String> {
    let words = line.split_whitespace().map(String::from);
    parse(lexopt::Parser::from_iter(std::iter::once("ptb-sft".to_owned()).chain(words)))
        .map_err(|e| format!("{} {e}", e.exit_code()))
}

fn training(line: &str) -> Train {
    match parsed(&format!("--base b --data d --out o {line}")) {
        Ok(Command::Train(options)) => *options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn defaults_and_every_flag() {
    let plain = training("");
    let began = plain.settings.began;
    assert_eq!(plain.settings, Settings { began, ..Settings::new("b", "o") });
    assert_eq!((plain.max_length, plain.door, plain.json), (2048, DoorChoice::Find, false));
    let o = training(
        "--lora 8 --lora-alpha 4 --steps 7 --minutes 2 --reserve 5 --lr 0.5 --warmup 0.2 --lr-floor 0.3 \
         --batch-tokens 99 --weight-decay 0.4 --clip 0 --seed 9 --threads 3 --evaluate-every 10 \
         --evaluate-limit 20 --patience 4 --validation 0.25 --checkpoints c --checkpoint-every 5s --json \
         --no-door --max-length 64 --too-long cut",
    );
    let s = &o.settings;
    assert_eq!(s.method, Method::Lora { rank: 8, alpha: 4.0 });
    assert_eq!(
        (s.length, s.limit, s.reserve),
        (Length::Steps(7), Some(Duration::from_secs(120)), Some(Duration::from_secs(5)))
    );
    let p = s.optimiser;
    assert_eq!((p.lr, p.warmup, p.floor, p.weight_decay, p.clip), (0.5, 0.2, 0.3, 0.4, 0.0));
    assert_eq!((s.batch_tokens, s.seed, s.threads), (99, 9, 3));
    assert_eq!(
        (s.look, s.evaluate_limit, s.patience, s.validation),
        (Some(Every::Steps(10)), Some(20), Some(4), 0.25)
    );
    assert_eq!(s.checkpoints, Some(Checkpoints { dir: "c".into(), every: Every::Seconds(5.0) }));
    assert_eq!(
        (o.max_length, o.too_long, o.door, o.json),
        (64, TooLong::Cut, DoorChoice::None, true)
    );
    assert_eq!(training("--minutes 1").settings.length, Length::Time);
    assert_eq!(training("--minutes 1 --epochs 2").settings.length, Length::Epochs(2));
    assert_eq!(training("--lora 4").settings.optimiser.lr, 1e-3);
}

#[test]
fn help_and_solve() {
    for line in ["", "help", "-h", "--base x --help"] {
        assert_eq!(parsed(line), Ok(Command::Help(HELP)), "{line}");
    }
    assert_eq!(parsed("solve --help"), Ok(Command::Help(SOLVE_HELP)));
    let Ok(Command::Solve(o)) = parsed("solve --seed 3 --lr 0 --steps 5 --examples 40 --threads 2")
    else {
        panic!()
    };
    assert_eq!((o.seed, o.lr, o.steps, o.examples, o.threads), (3, 0.0, 5, 40, 2));
    let widest = HELP.lines().chain(SOLVE_HELP.lines()).map(|l| l.chars().count()).max();
    assert!(widest <= Some(106), "{widest:?}");
}

#[test]
fn wrong_usage_is_code_2_with_what_was_expected() {
    for (line, part) in [
        ("--base b --data d", "--out is missing"),
        ("--base b --data d --out o --lr many", "--lr is \"many\", expected a rate"),
        ("--base b --data d --out o --lr nan", "--lr is \"nan\""),
        ("--base b --data d --out o --epochs 0", "whole number from 1"),
        ("--base b --data d --out o --steps 1 --epochs 1", "both there"),
        ("--base b --data d --out o --lora-alpha 1", "without --lora"),
        ("--base b --data d --out o --patience 1", "without --evaluate-every"),
        ("--base b --data d --out o --checkpoint-every 1", "without --checkpoints"),
        ("--base b --data d --out o --evaluate-every 0", "seconds such as 60s"),
        ("--base b --data d --out o --evaluate-every xs", "seconds such as 60s"),
        ("--base b --data d --out o --too-long drop", "expected skip or cut"),
        ("--base b --epoch 3", "there is no flag --epoch"),
        ("--base b stray", "unexpected argument"),
        ("--base", "missing argument"),
        ("solve --lr", "missing argument"),
        ("solve --steps 0", "whole number from 1"),
        ("solve now", "unexpected argument"),
    ] {
        let message = parsed(line).unwrap_err();
        assert!(message.starts_with("2 ") && message.contains(part), "{line}: {message}");
        assert!(message.contains("hint: see ptb-sft"), "{line}: {message}");
    }
}
