//! From a sample to chat messages, or to a plain few-shot text, by the benchmark's templates.

use std::collections::BTreeSet;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value, context};
use ptb_core::registry::{Benchmark, Entry, FewShot, FewShotPrompt, Role};
use serde::{Deserialize, Serialize};

use crate::chat::python::to_json;
use crate::data::{Dataset, Sample};
use crate::error::TaskError;
use crate::score::letter;

/// One message of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// A benchmark's templates, parsed, with its few-shot examples filled in.
#[derive(Debug)]
pub struct Prompter {
    environment: Environment<'static>,
    roles: Vec<Role>,
    examples: String,
}

impl Prompter {
    /// Parses the templates and, where the benchmark has few-shot examples, reads the train split for them.
    ///
    /// # Errors
    /// A template that is wrong, a train split that cannot be had or has no such row.
    pub fn new(benchmark: &Entry<Benchmark>, dataset: &Dataset) -> Result<Self, TaskError> {
        let prompt = &benchmark.value.prompt;
        let mut environment = environment().map_err(|e| fault(benchmark, "read", "prompt", &e))?;
        for (i, message) in prompt.messages.iter().enumerate() {
            environment
                .add_template_owned(i.to_string(), message.content.clone())
                .map_err(|e| fault(benchmark, "read", &format!("message {}", i + 1), &e))?;
            check_names(benchmark, &environment, &i.to_string(), "prompt", &MESSAGE_NAMES)?;
        }
        let examples = match &prompt.few_shot {
            Some(few_shot) => examples(&environment, benchmark, few_shot, dataset)?,
            None => String::new(),
        };
        Ok(Self { environment, roles: prompt.messages.iter().map(|m| m.role).collect(), examples })
    }

    /// The chat messages that ask a sample: those of the templates, or its own.
    ///
    /// # Errors
    /// A template that cannot be filled in.
    pub fn messages(&self, sample: &Sample) -> Result<Vec<ChatMessage>, TaskError> {
        if let Some(messages) = &sample.messages {
            return Ok(messages.clone());
        }
        let choices = choices(sample);
        let fill = |i: usize| -> Result<String, Error> {
            let examples = &self.examples;
            let values = context! { question => &sample.question, examples, choices => &choices };
            self.environment.get_template(&i.to_string())?.render(values)
        };
        let message = |(i, role): (usize, &Role)| {
            let content = fill(i).map_err(|e| TaskError::Template {
                action: format!("fill in message {} for sample {}", i + 1, sample.id),
                reason: e.to_string(),
                hint: "prompt templates see `question`, `examples` and `choices`".to_owned(),
            })?;
            Ok(ChatMessage { role: *role, content })
        };
        self.roles.iter().enumerate().map(message).collect()
    }
}

/// The choices of a sample as templates see them: each with `letter` and `text`.
fn choices(sample: &Sample) -> Vec<Value> {
    let lettered = sample.choices.iter().enumerate();
    lettered.map(|(i, text)| context! { letter => letter(i).map(String::from), text }).collect()
}

/// A benchmark's few-shot text, its template parsed and its examples filled in.
#[derive(Debug)]
pub struct FewShotPrompter {
    environment: Environment<'static>,
    /// None where the text has examples of its own.
    examples: Option<String>,
}

/// The template's name in its environment.
const TEXT: &str = "text";

impl FewShotPrompter {
    /// Parses the template and, where it asks for rows of the train split, reads that for the examples.
    ///
    /// # Errors
    /// A benchmark without the table `[few_shot]`, a template that is wrong, a train split that cannot be had
    /// or has no such row.
    pub fn new(benchmark: &Entry<Benchmark>, dataset: &Dataset) -> Result<Self, TaskError> {
        let FewShotPrompt { text, examples: few_shot, .. } =
            benchmark.value.few_shot.as_ref().ok_or_else(|| no_few_shot(benchmark))?;
        let parse = || -> Result<_, Error> {
            let mut environment = environment()?;
            environment.add_template_owned(TEXT, text.clone())?;
            Ok(environment)
        };
        let environment = parse().map_err(|e| fault(benchmark, "read", "few-shot text", &e))?;
        check_names(benchmark, &environment, TEXT, "few-shot text", &TEXT_NAMES)?;
        let examples = match few_shot.is_none() {
            true => None,
            false => Some(examples(&environment, benchmark, few_shot, dataset)?),
        };
        Ok(Self { environment, examples })
    }

    /// The text that asks a sample.
    ///
    /// # Errors
    /// A template that cannot be filled in.
    pub fn text(&self, sample: &Sample) -> Result<String, TaskError> {
        let question = &sample.question;
        let tools: Vec<Value> = sample.tools.iter().map(|t| Serde(t.clone()).into()).collect();
        let values = context! { question, tools, choices => choices(sample) };
        // Without rows there is no such variable, so that a text which shows it is told.
        let values = match &self.examples {
            Some(examples) => context! { examples, ..values },
            None => values,
        };
        let filled = self.environment.get_template(TEXT).and_then(|t| t.render(values));
        filled.map_err(|e| TaskError::Template {
            action: format!("fill in the few-shot text for sample {}", sample.id),
            reason: e.to_string(),
            hint: "the few-shot text sees `question`, `choices`, `tools`, and `examples` where \
                   [few_shot.examples] names rows"
                .to_owned(),
        })
    }
}

fn no_few_shot(benchmark: &Entry<Benchmark>) -> TaskError {
    let id = &benchmark.id;
    let place = match benchmark.source.as_str() {
        "built-in" => format!("a copy of its file, ./registry/benchmarks/{id}/benchmark.toml"),
        path => path.to_owned(),
    };
    TaskError::Benchmark {
        benchmark: id.clone(),
        reason: "it has no few-shot prompt".to_owned(),
        hint: format!("add a table [few_shot] to {place}, or leave few-shot baselines out"),
    }
}

/// Where templates are filled in: strict about names, bounded in time, nothing escaped, trailing line breaks kept.
///
/// # Errors
/// None that a test does not find.
pub fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // A misspelt variable is an error, not an empty text in every prompt.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(1_000_000));
    environment.add_filter("tojson", |value: &Value, options| to_json(value, options));
    Ok(environment)
}

/// What messages see, and what a few-shot text does.
const MESSAGE_NAMES: [&str; 3] = ["question", "examples", "choices"];
const TEXT_NAMES: [&str; 4] = ["question", "choices", "tools", "examples"];

/// A template that shows what is never there is told before anything is asked, by name and file.
fn check_names(
    benchmark: &Entry<Benchmark>,
    environment: &Environment<'static>,
    template: &str,
    which: &str,
    known: &[&str],
) -> Result<(), TaskError> {
    let template = environment.get_template(template);
    let template = template.map_err(|e| fault(benchmark, "read", which, &e))?;
    let ours: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
    let is_known = |name: &String| known.contains(&name.as_str()) || ours.contains(&name.as_str());
    let shown: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
    match shown.into_iter().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => Err(TaskError::Template {
            action: format!("read the template of the {which} of benchmark {}", benchmark.id),
            reason: format!("there is no variable `{name}`, only {}", known.join(", ")),
            hint: format!("correct it in {}", benchmark.source),
        }),
    }
}

fn examples(
    environment: &Environment<'static>,
    benchmark: &Entry<Benchmark>,
    few_shot: &FewShot,
    dataset: &Dataset,
) -> Result<String, TaskError> {
    let train = dataset.train()?;
    let example = |row: &usize| {
        let sample = train.get(*row).ok_or_else(|| TaskError::Benchmark {
            benchmark: benchmark.id.clone(),
            reason: format!(
                "few-shot row {row} is not in the train split, which has {} rows",
                train.len()
            ),
            hint: "use the train split that the rows were chosen from".to_owned(),
        })?;
        let reasoning = sample.reasoning.as_deref().unwrap_or_default();
        let values = context! { question => &sample.question, reasoning, target => &sample.target };
        environment
            .render_str(&few_shot.example, values)
            .map_err(|e| fault(benchmark, "fill in", "example", &e))
    };
    let texts: Vec<String> = few_shot.rows.iter().map(example).collect::<Result<_, _>>()?;
    Ok(texts.join(&few_shot.join))
}

fn fault(benchmark: &Entry<Benchmark>, action: &str, which: &str, e: &Error) -> TaskError {
    TaskError::Template {
        action: format!("{action} the template of the {which} of benchmark {}", benchmark.id),
        reason: e.to_string(),
        hint: format!("correct the prompts in {}", benchmark.source),
    }
}
