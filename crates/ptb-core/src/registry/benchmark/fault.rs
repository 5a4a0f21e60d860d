//! What can be wrong with a benchmark's file beyond its form: tables must fit each other.

use super::{
    Benchmark, Choices, Data, Evaluate, FewShotPrompt, Generation, HubData, Scorer, ScorerKind,
};

/// What is wrong: text of the file to point at, message, hint.
type Fault = (&'static str, String, String);

impl Scorer {
    fn fault(&self, data: &Data) -> Option<Fault> {
        let told = |message: &str, hint: &str| Some(("[scorer]", message.into(), hint.into()));
        let code = [&self.tests, &self.entry_point];
        match self.kind {
            kind if kind == ScorerKind::Script || self.script.is_some() => told(
                "a benchmark.toml cannot have the scorer `script`",
                "leave benchmark.toml out: a folder with evaluate.py and benchmark.txt is a benchmark of itself",
            ),
            ScorerKind::Code if code.iter().any(|f| f.is_none()) => told(
                "the scorer `code` needs `tests` and `entry_point`",
                "name the fields that hold the tests and the tested function's name",
            ),
            kind if kind != ScorerKind::Code && code.iter().any(|f| f.is_some()) => told(
                "`tests` and `entry_point` are for the scorer `code`",
                "leave them out, or set kind = \"code\"",
            ),
            ScorerKind::Choice if data.choices.is_none() => told(
                "the scorer `choice` needs choices",
                "add [data.choices] with `wrong`, the fields of the wrong choices",
            ),
            ScorerKind::ToolCall if data.tools.is_none() => told(
                "the scorer `tool-call` needs functions that can be called",
                "name the field that describes them as `tools` in [data]",
            ),
            kind if kind != ScorerKind::Numeric && self.boxed => told(
                "`boxed` is for the scorer `numeric`",
                "leave it out, or set kind = \"numeric\"",
            ),
            kind if kind.is_graded() != self.grader.is_some() => told(
                "the scorers `rubric` and `pairwise` need a grader, others have none",
                "add or leave out [scorer.grader] with `prompt`, `model` and `max_tokens`",
            ),
            _ if self.grader.as_ref().is_some_and(|g| g.max_tokens == 0) => {
                told("max_tokens of [scorer.grader] is 0", "give a number above 0")
            }
            kind if (kind == ScorerKind::Rubric) != self.criteria.is_some() => told(
                "`criteria` is for the scorer `rubric`, which needs it",
                "name the field that holds the criteria, or leave `criteria` out",
            ),
            kind if (kind == ScorerKind::Pairwise) != data.baseline.is_some() => told(
                "[data.baseline] is for the scorer `pairwise`, which needs it",
                "name the file of the replies to compare with, or leave the table out",
            ),
            kind if (kind == ScorerKind::Regex)
                != (self.required.is_some() || self.forbidden.is_some()) =>
            {
                told(
                    "`required` and `forbidden` are for the scorer `regex`, which needs one of them",
                    "name the fields that hold the patterns, or leave both out",
                )
            }
            _ => None,
        }
    }
}

impl Choices {
    /// Most choices: one for each letter.
    const MOST: usize = 26;

    fn fault(&self) -> Option<Fault> {
        let fits = (1..Self::MOST).contains(&self.wrong.len());
        (!fits).then(|| {
            let message = format!("there are {} wrong choices", self.wrong.len());
            ("[data.choices]", message, format!("name 1 to {} fields", Self::MOST - 1))
        })
    }
}

impl FewShotPrompt {
    fn fault(&self) -> Option<Fault> {
        if self.examples.rows.is_empty() && !self.examples.is_none() {
            let message = "there are no examples in [few_shot.examples]".to_owned();
            let hint = "name rows of the train split, or leave the table out and write examples into `text`";
            return Some(("[few_shot.examples]", message, hint.into()));
        }
        if self.stop.is_empty() || self.stop.iter().any(String::is_empty) {
            let message = "[few_shot] has no `stop`, or an empty one".to_owned();
            let hint = "give the text that begins a next example: a base model goes on with it";
            return Some(("[few_shot]", message, hint.into()));
        }
        None
    }
}

impl HubData {
    fn fault(&self) -> Option<Fault> {
        let is_sha256 = |text: &str| {
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let named = [("test_sha256", &self.test_sha256), ("train_sha256", &self.train_sha256)];
        let (key, _) = named
            .into_iter()
            .find(|(_, value)| value.as_deref().is_some_and(|value| !is_sha256(value)))?;
        let hint = "write the 64 hex digits that `sha256sum` prints".to_owned();
        Some((key, format!("`{key}` is no SHA-256"), hint))
    }
}

impl Generation {
    /// Most texts that end a completion, and most bytes of one.
    const STOPS: usize = 16;
    const STOP_BYTES: usize = 1024;

    fn fault(&self) -> Option<Fault> {
        let fits = |stop: &String| (1..=Self::STOP_BYTES).contains(&stop.len());
        (self.stop.len() > Self::STOPS || !self.stop.iter().all(fits)).then(|| {
            let (most, bytes) = (Self::STOPS, Self::STOP_BYTES);
            let hint = format!("give at most {most} texts of 1 to {bytes} bytes");
            ("stop", "`stop` holds too many texts, or an empty or a long one".to_owned(), hint)
        })
    }
}

impl Evaluate {
    /// Most requests at once.
    const CONNECTIONS: usize = 4096;

    /// `max_tokens` is the benchmark's, `holding` are the fields that hold an item.
    fn fault(&self, max_tokens: u32, holding: &[&str]) -> Option<Fault> {
        let limits = || std::iter::once(max_tokens).chain(self.ladder.iter().copied());
        if let Some((before, limit)) =
            limits().zip(limits().skip(1)).find(|(a, b)| *b == 0 || b >= a)
        {
            let message = format!("the ladder does not fall: {limit} comes after {before}");
            let hint = format!(
                "write limits above 0, the first below max_tokens = {max_tokens}, each below the one before it"
            );
            return Some(("ladder", message, hint));
        }
        let held = self.breakdown.iter().find(|field| holding.contains(&field.as_str()))?;
        let message = format!("`{held}` holds single items, and the accuracy is broken down by it");
        Some(("breakdown", message, "name fields that put samples into groups".to_owned()))
    }
}

impl Benchmark {
    /// The fields of a record that hold an item, whole or in part: its values are those of single samples, and
    /// may have to stay unpublished.
    fn holding(&self) -> Vec<&str> {
        let (data, scorer) = (&self.data, &self.scorer);
        let wrong = data.choices.iter().flat_map(|choices| &choices.wrong);
        let others = [
            &data.id,
            &data.tools,
            &scorer.tests,
            &scorer.entry_point,
            &scorer.required,
            &scorer.forbidden,
            &scorer.criteria,
        ];
        let all = [&data.question, &data.answer].into_iter().chain(wrong);
        let all = all.chain(others.into_iter().flatten()).chain(&self.contamination.fields);
        all.map(String::as_str).collect()
    }

    /// What is wrong beyond the form.
    pub(in crate::registry) fn fault(&self) -> Option<Fault> {
        let data = &self.data;
        let sources = [
            data.hub.is_some(),
            data.path.is_some(),
            data.generator.is_some(),
            data.elsewhere.is_some(),
        ];
        if sources.iter().filter(|s| **s).count() != 1 {
            let hint = "keep one of `hub`, `path`, `generator`, `elsewhere`".to_owned();
            return Some(("[data]", "data has not exactly one source".to_owned(), hint));
        }
        match (self.prompt.messages.is_empty(), self.data.conversation) {
            (true, false) => {
                let hint = "add [[prompt.messages]]".to_owned();
                return Some(("[prompt]", "the prompt has no messages".to_owned(), hint));
            }
            (false, true) => {
                let message = "records bring their own conversation, and [prompt] has messages";
                let hint = "leave `conversation` or [[prompt.messages]] out".to_owned();
                return Some(("conversation", message.to_owned(), hint));
            }
            _ => {}
        }
        if let Some(fault) = self.data.hub.as_ref().and_then(HubData::fault) {
            return Some(fault);
        }
        if let Some(fault) = self.data.choices.as_ref().and_then(Choices::fault) {
            return Some(fault);
        }
        if let Some(fault) = self.scorer.fault(&self.data) {
            return Some(fault);
        }
        if let Some(fault) = self.few_shot.as_ref().and_then(FewShotPrompt::fault) {
            return Some(fault);
        }
        if self.evaluate.seeds.is_empty() {
            return Some((
                "seeds",
                "there are no seeds".into(),
                "the default is seeds = [42]".into(),
            ));
        }
        let zero = |n: usize, word: &'static str| {
            (n == 0).then(|| (word, format!("{word} is 0"), "give a number above 0".to_owned()))
        };
        zero(self.generation.max_tokens as usize, "max_tokens")
            .or_else(|| zero(self.evaluate.max_connections, "max_connections"))
            .or_else(|| self.generation.fault())
            .or_else(|| {
                let most = Evaluate::CONNECTIONS;
                (self.evaluate.max_connections > most).then(|| {
                    let message = format!("max_connections is above {most}");
                    ("max_connections", message, format!("give at most {most}"))
                })
            })
            .or_else(|| self.evaluate.limit.and_then(|l| zero(l, "limit")))
            .or_else(|| self.evaluate.fault(self.generation.max_tokens, &self.holding()))
            .or_else(|| {
                let bad =
                    self.weight.as_ref().is_some_and(|w| !(w.value.is_finite() && w.value > 0.0));
                bad.then(|| {
                    ("[weight]", "the weight is not above 0".into(), "give a number above 0".into())
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str = "[[prompt.messages]]\nrole = \"user\"\ncontent = \"{{ question }}\"";

    /// What a benchmark with these tables says of itself.
    fn fault(data: &str, prompt: &str, scorer: &str) -> Option<String> {
        told(&format!(
            "name = \"x\"\ntask = \"\"\n[data]\npath = \".\"\n{data}\n{prompt}\n[generation]\nmax_tokens = 1\n\
             [scorer]\n{scorer}\n[evaluate]\nseeds = [1]\n"
        ))
    }

    fn told(text: &str) -> Option<String> {
        let benchmark: Benchmark = toml::from_str(text).unwrap();
        benchmark.fault().map(|(at, message, hint)| {
            assert!(text.contains(at), "{at} is not in {text}");
            format!("{message}; {hint}")
        })
    }

    #[test]
    fn tables_must_fit_each_other() {
        let prompt = PROMPT;
        let code = "kind = \"code\"\ntests = \"t\"\nentry_point = \"e\"";
        let choices = "[data.choices]\nwrong = [\"w\"]";
        for (data, prompt, scorer) in [
            ("", prompt, "kind = \"numeric\"\nboxed = true"),
            ("", prompt, code),
            (choices, prompt, "kind = \"choice\""),
            ("tools = \"f\"", prompt, "kind = \"tool-call\""),
            ("conversation = true", "", "kind = \"exact\""),
        ] {
            assert_eq!(fault(data, prompt, scorer), None);
        }
        for (data, prompt, scorer, told) in [
            ("", "[prompt]\nmessages = []", "kind = \"exact\"", "the prompt has no messages"),
            ("conversation = true", prompt, "kind = \"exact\"", "bring their own conversation"),
            ("", prompt, "kind = \"code\"\ntests = \"t\"", "needs `tests` and `entry_point`"),
            ("", prompt, "kind = \"exact\"\ntests = \"t\"", "are for the scorer `code`"),
            ("", prompt, "kind = \"choice\"", "needs choices; add [data.choices]"),
            ("", prompt, "kind = \"tool-call\"", "needs functions that can be called"),
            ("", prompt, "kind = \"exact\"\nboxed = true", "`boxed` is for the scorer `numeric`"),
            (
                "[data.choices]\nwrong = []",
                prompt,
                "kind = \"choice\"",
                "there are 0 wrong choices",
            ),
        ] {
            let said = fault(data, prompt, scorer).unwrap_or_default();
            assert!(said.contains(told), "{said:?} instead of {told}");
        }
    }

    #[test]
    fn an_evaluation_fits_its_benchmark() {
        let fault = |evaluate: &str| {
            told(&format!(
                "name = \"x\"\ntask = \"\"\n[data]\npath = \".\"\nid = \"i\"\n{PROMPT}\n[data.choices]\nwrong = [\"w\"]\n\
                 [generation]\nmax_tokens = 100\n[scorer]\nkind = \"choice\"\n[contamination]\nfields = [\"c\"]\n\
                 [evaluate]\nseeds = [1]\n{evaluate}\n"
            ))
        };
        for sound in
            ["", "ladder = [99]", "ladder = [50, 49, 1]", "breakdown = [\"topic\", \"level\"]"]
        {
            assert_eq!(fault(sound), None, "{sound}");
        }
        for (evaluate, message) in [
            (
                "ladder = [100]",
                "the ladder does not fall: 100 comes after 100; write limits above 0, the first below max_tokens = 100",
            ),
            ("ladder = [200, 50]", "the ladder does not fall: 200 comes after 100"),
            ("ladder = [50, 60]", "the ladder does not fall: 60 comes after 50"),
            ("ladder = [50, 50]", "the ladder does not fall: 50 comes after 50"),
            ("ladder = [50, 0]", "the ladder does not fall: 0 comes after 50"),
        ] {
            let said = fault(evaluate).unwrap_or_default();
            assert!(said.contains(message), "{said:?} instead of {message}");
        }
        for field in ["question", "answer", "i", "w", "c"] {
            let said = fault(&format!("breakdown = [\"topic\", \"{field}\"]")).unwrap_or_default();
            assert!(said.contains(&format!("`{field}` holds single items")), "{said}");
        }
    }
}
