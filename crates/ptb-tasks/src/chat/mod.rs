//! Chat templates: conversations rendered to the text a model reads, in the environment that templates of
//! the Hugging Face hub expect (jinja2 with trimmed blocks, `raise_exception`, `strftime_now`, `tojson`,
//! Python's string methods). The template is chosen by the run's base model, never by a submission.

pub(crate) mod python;

use std::io;

use jiff::civil::Date;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value as Jinja};
use serde_json::{Map, Value};

use crate::error::TaskError;

/// Steps that a rendering may take: some thousand times what a long conversation needs.
const FUEL: u64 = 20_000_000;

/// Longest rendering, in bytes.
const LONGEST: usize = 64 << 20;

const NAME: &str = "chat";

/// A chat template, parsed.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
}

/// What is rendered.
#[derive(Debug, Clone)]
pub struct RenderRequest<'a> {
    /// The messages as JSON objects: `role`, `content`, and what else the template knows.
    pub messages: &'a [Value],
    /// Tools as JSON objects; none and an empty list are not the same to a template.
    pub tools: Option<&'a [Value]>,
    /// Further variables (`enable_thinking`). `add_generation_prompt` and `continue_final_message` among them
    /// mean what they mean to `apply_chat_template`; the former wins over the field of that name.
    pub kwargs: &'a Map<String, Value>,
    /// The text that begins every sequence of the model, empty where it has none.
    pub bos_token: &'a str,
    /// What `strftime_now` calls today, so that equal requests give equal texts on every day.
    pub date: Date,
    /// Whether the text ends with the opening of the model's turn.
    pub add_generation_prompt: bool,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TaskError::Template`] with the line of a syntax error.
    pub fn new(text: &str) -> Result<Self, TaskError> {
        let mut environment = Environment::new();
        let fault = |e: Error| template_error("read the chat template", &e);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(fault)?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, _: &mut State, value| python::display(out, value));
        environment.add_filter("tojson", |value: &Jinja, options| python::to_json(value, options));
        environment.add_filter("string", |value: &Jinja| {
            let mut out = String::new();
            python::display(&mut out, value).map(|()| out)
        });
        environment.add_function("raise_exception", |message: String| -> Result<Jinja, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, text.to_owned()).map_err(fault)?;
        Ok(Self { environment })
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// [`TaskError::Template`] where the template refuses the conversation (`raise_exception`), meets a value
    /// it cannot use, or does not end in bounded time and space.
    pub fn render(&self, request: &RenderRequest<'_>) -> Result<String, TaskError> {
        const ACTION: &str = "render the conversation";
        let refuse = |reason: &str, hint: &str| TaskError::Template {
            action: ACTION.to_owned(),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        };
        let flag = |name: &str, default: bool| request.kwargs.get(name).map_or(default, truth);
        let generate = flag("add_generation_prompt", request.add_generation_prompt);
        let continues = flag("continue_final_message", false);
        if generate && continues {
            let hint = "give one of add_generation_prompt and continue_final_message";
            return Err(refuse(
                "the final message cannot be continued and followed by another",
                hint,
            ));
        }
        let text = self.run(request, generate).map_err(|e| template_error(ACTION, &e))?;
        if !continues {
            return Ok(text);
        }
        cut_after_final_message(text, request.messages).ok_or_else(|| {
            refuse(
                "the final message's content is not in the rendered text",
                "end with a message of text",
            )
        })
    }

    fn run(&self, request: &RenderRequest<'_>, generate: bool) -> Result<String, Error> {
        let date = request.date;
        let mut context: std::collections::BTreeMap<String, Jinja> =
            request.kwargs.iter().map(|(k, v)| (k.clone(), Jinja::from(Serde(v)))).collect();
        context.remove("continue_final_message");
        let strftime = move |format: String| -> Result<String, Error> {
            jiff::fmt::strtime::format(&format, date.at(0, 0, 0, 0))
                .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {e}")))
        };
        let fixed = [
            ("messages", Jinja::from(Serde(request.messages))),
            ("tools", Jinja::from(Serde(request.tools))),
            ("bos_token", Jinja::from(request.bos_token)),
            ("add_generation_prompt", Jinja::from(generate)),
            ("strftime_now", Jinja::from_function(strftime)),
        ];
        context.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
        let mut out = Bounded(Vec::new());
        self.environment.get_template(NAME)?.render_captured_to(Jinja::from(context), &mut out)?;
        String::from_utf8(out.0).map_err(|e| Error::new(ErrorKind::WriteFailure, e.to_string()))
    }
}

/// Python's truth of a JSON value.
fn truth(value: &Value) -> bool {
    Jinja::from(Serde(value)).is_true()
}

/// What precedes the end of the last message's content, so that a model goes on with that message. White space
/// around the content counts where the template kept it.
fn cut_after_final_message(mut text: String, messages: &[Value]) -> Option<String> {
    let content = messages.last()?.get("content")?;
    let content = match content {
        Value::String(s) => s.as_str(),
        Value::Array(parts) => parts.iter().rev().find_map(|p| p.get("text"))?.as_str()?,
        _ => return None,
    };
    let trimmed = content.trim();
    let start = text.rfind(trimmed)?;
    let kept = content.trim_start();
    let length = if text[start..].starts_with(kept) { kept.len() } else { trimmed.len() };
    text.truncate(start + length);
    Some(text)
}

fn template_error(action: &str, e: &Error) -> TaskError {
    let line = e.line().map(|l| format!(" (line {l} of the template)")).unwrap_or_default();
    let detail = e.detail().map_or_else(|| e.kind().to_string(), str::to_owned);
    TaskError::Template {
        action: action.to_owned(),
        reason: format!("{detail}{line}"),
        hint: match e.kind() {
            ErrorKind::OutOfFuel => {
                "the conversation is too long, or the template does not end".to_owned()
            }
            ErrorKind::SyntaxError => "correct the template".to_owned(),
            _ => "give messages in the form that this chat template knows".to_owned(),
        },
    }
}

/// A buffer that refuses to grow without end.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::Error::other(format!("the text is longer than {LONGEST} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str, messages: &[Value], kwargs: Value) -> Result<String, TaskError> {
        let empty = Map::new();
        ChatTemplate::new(template)?.render(&RenderRequest {
            messages,
            tools: None,
            kwargs: kwargs.as_object().unwrap_or(&empty),
            bos_token: "<s>",
            date: jiff::civil::date(2026, 1, 15),
            add_generation_prompt: false,
        })
    }

    #[test]
    fn templates_of_the_hub_find_what_they_expect() {
        let template = "{{ bos_token }}{% for m in messages %}\n  {% if m.role == 'skip' %}{% continue %}{% endif %}\n\
                        {{ m['content'].strip() | upper }}{{ m.get('name', '-') }}\n{% endfor %}\n\
                        {{ strftime_now('%d %B %Y') }} {{ none }} {{ x }} {{ missing }}|{{ tools is none }}";
        let messages = [json!({"role": "user", "content": " <b> "}), json!({"role": "skip"})];
        let text = render(template, &messages, json!({"x": [true]})).unwrap();
        assert_eq!(text, "<s><B>-\n15 January 2026 None [True] |True");
    }

    #[test]
    fn a_refusal_carries_the_templates_words() {
        let e = render("a\n{{ raise_exception('roles must alternate') }}", &[], json!({}))
            .unwrap_err()
            .to_string();
        assert!(e.contains("roles must alternate (line 2 of the template); hint:"), "{e}");
        let e = render("{{ messages[3].role }}", &[], json!({})).unwrap_err().to_string();
        assert!(e.starts_with("cannot render the conversation: "), "{e}");
        let e = ChatTemplate::new("{% if %}").unwrap_err().to_string();
        assert!(e.starts_with("cannot read the chat template: "), "{e}");
    }

    #[test]
    fn endless_templates_end() {
        for endless in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a %}{% endfor %}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% set s = 'x' * 1000000 %}{% for a in range(1000) %}{{ s }}{% endfor %}",
        ] {
            assert!(render(endless, &[], json!({})).is_err(), "{endless}");
        }
    }

    #[test]
    fn a_final_message_can_be_continued() {
        let template = "{% for m in messages %}[{{ m.content }}]{% endfor %}";
        let trimming = "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}";
        let messages = [json!({"content": "Sure, "}), json!({"content": " Sure, "})];
        let kwargs = json!({"continue_final_message": true});
        assert_eq!(render(template, &messages, kwargs.clone()).unwrap(), "[Sure, ][ Sure, ");
        assert_eq!(render(trimming, &messages, kwargs.clone()).unwrap(), "[Sure,][Sure,");
        assert!(render("nothing", &messages, kwargs).is_err());
        let both = json!({"continue_final_message": true, "add_generation_prompt": true});
        assert!(render(template, &messages, both).is_err());
    }
}
