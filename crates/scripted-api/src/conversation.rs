//! What a script sees of a request, whatever its protocol.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How an agent talks to its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Anthropic Messages: `POST /v1/messages`.
    Messages,
    /// OpenAI Responses: `POST /v1/responses`.
    Responses,
    /// OpenAI Chat Completions: `POST /v1/chat/completions`.
    Chat,
    /// Gemini: `POST /v1beta/models/M:generateContent` and `:streamGenerateContent`.
    Gemini,
}

/// A tool that the agent declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The JSON schema of its input.
    pub schema: Value,
}

/// What a tool gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// The call it answers; empty where the agent names none.
    pub call: String,
    /// Its text.
    pub text: String,
}

/// A request for a reply of the model.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// How it was asked.
    pub protocol: Protocol,
    /// The model asked for.
    pub model: String,
    /// Whether the reply is to be streamed.
    pub stream: bool,
    /// The system prompt (and developer messages).
    pub system: String,
    /// Each text that came in the user's name, oldest first; agents put reminders of their own among them.
    pub user: Vec<String>,
    /// Each text that the model said, oldest first.
    pub said: Vec<String>,
    /// Results of tools, oldest first; those of one long command are one.
    pub results: Vec<ToolResult>,
    /// The tools declared.
    pub tools: Vec<Tool>,
    /// How many turns of the model the conversation holds.
    pub turn: usize,
    /// How many requests with the same conversation came before.
    pub before: usize,
    /// How hard the model is asked to think, in the protocol's own words.
    pub effort: Option<String>,
    /// The JSON schema that the reply must follow.
    pub schema: Option<Value>,
    /// The process that a shell tool left running, with the tool that waits for it.
    pub(crate) unfinished: Option<u64>,
    /// Bytes of all that stands before the model's last turn, and of what came since.
    pub(crate) old_bytes: u64,
    pub(crate) new_bytes: u64,
}

/// Names of tools that run a shell command, best first.
const SHELLS: [&str; 8] = [
    "Bash",
    "exec_command",
    "run_shell_command",
    "bash",
    "shell_command",
    "shell",
    "local_shell",
    "terminal",
];
/// How long a shell command may take where the tool lets the model say so, in milliseconds.
const PATIENCE: u64 = 600_000;
/// How long one call waits for a command that goes on, in milliseconds (Codex allows no more).
const WAIT: u64 = 30_000;
/// The tool that waits for a command that goes on (Codex).
pub(crate) const WAITS: &str = "write_stdin";

impl Conversation {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            model: String::new(),
            stream: false,
            system: String::new(),
            user: Vec::new(),
            said: Vec::new(),
            results: Vec::new(),
            tools: Vec::new(),
            turn: 0,
            before: 0,
            effort: None,
            schema: None,
            unfinished: None,
            old_bytes: 0,
            new_bytes: 0,
        }
    }

    /// The tool that runs shell commands.
    pub fn shell(&self) -> Option<&Tool> {
        SHELLS.iter().find_map(|name| self.tools.iter().find(|tool| tool.name == *name))
    }

    /// Whether this is the agent's errand beside its work (a title, a topic, a check): nothing to run commands with.
    pub fn is_aside(&self) -> bool {
        self.shell().is_none()
    }

    /// Whether any text in the user's name has these words.
    pub fn asks(&self, words: &str) -> bool {
        self.user.iter().any(|text| text.contains(words))
    }

    /// What the last tool gave back; empty before the first.
    pub fn last_result(&self) -> &str {
        self.results.last().map_or("", |result| &result.text)
    }

    /// A call of the shell tool, filled in as its schema wants.
    pub(crate) fn shell_call(&self, command: &str) -> Option<(String, Value)> {
        let tool = self.shell()?;
        let has = |name: &str| tool.schema["properties"].get(name);
        let name = if has("cmd").is_some() { "cmd" } else { "command" };
        let as_list = has(name).is_some_and(|p| p["type"] == "array") || tool.name == "local_shell";
        let mut input = json!({});
        input[name] = if as_list { json!(["bash", "-lc", command]) } else { json!(command) };
        if has("description").is_some() {
            input["description"] = json!("what the script says");
        }
        for (name, most) in
            [("timeout", PATIENCE), ("timeout_ms", PATIENCE), ("yield_time_ms", WAIT)]
        {
            if has(name).is_some() {
                input[name] = json!(most);
            }
        }
        Some((tool.name.clone(), input))
    }

    /// The call that waits on for a command that has not ended.
    pub(crate) fn wait_call(&self) -> Option<(String, Value)> {
        let session = self.unfinished?;
        self.tools.iter().find(|tool| tool.name == WAITS)?;
        let input = json!({"session_id": session, "chars": "", "yield_time_ms": WAIT});
        Some((WAITS.to_owned(), input))
    }

    /// Takes a result in: what came of waiting for a command belongs to that command's own result.
    pub(crate) fn add_result(&mut self, call: &str, text: String, waited: bool) {
        self.unfinished = going_on(&text);
        match self.results.last_mut() {
            Some(last) if waited => {
                last.text.push('\n');
                last.text.push_str(&text);
            }
            _ => self.results.push(ToolResult { call: call.to_owned(), text }),
        }
    }

    /// Adds to what is known of the conversation's length. A turn of the model makes all before it old.
    pub(crate) fn add_bytes(&mut self, bytes: usize, by_model: bool) {
        self.new_bytes += bytes as u64;
        if by_model {
            self.old_bytes += std::mem::take(&mut self.new_bytes);
        }
    }
}

/// The session of a command that goes on, as Codex words it.
fn going_on(text: &str) -> Option<u64> {
    let after = text.split("Process running with session ID ").nth(1)?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tool: &str, properties: Value) -> Conversation {
        let mut conversation = Conversation::new(Protocol::Chat);
        let schema = json!({"type": "object", "properties": properties});
        conversation.tools.push(Tool { name: tool.to_owned(), schema });
        conversation
    }

    #[test]
    fn a_shell_call_is_filled_in_as_the_schema_wants() {
        let cases = [
            (
                with("Bash", json!({"command": {}, "description": {}, "timeout": {}})),
                json!({"command": "ls", "description": "what the script says", "timeout": 600_000}),
            ),
            (
                with("exec_command", json!({"cmd": {}, "yield_time_ms": {}})),
                json!({"cmd": "ls", "yield_time_ms": 30_000}),
            ),
            (
                with("shell", json!({"command": {"type": "array"}})),
                json!({"command": ["bash", "-lc", "ls"]}),
            ),
        ];
        for (conversation, input) in cases {
            assert_eq!(conversation.shell_call("ls").unwrap().1, input);
        }
        let aside = with("web_search", json!({}));
        assert!(aside.is_aside() && aside.shell_call("ls").is_none());
    }

    #[test]
    fn a_long_command_has_one_result_and_is_waited_for() {
        let mut conversation = with("exec_command", json!({"cmd": {}}));
        conversation.add_result("c", "Process running with session ID 7\nOutput:\na".into(), false);
        assert_eq!(conversation.wait_call(), None, "without the tool there is no waiting");
        conversation.tools.push(Tool { name: WAITS.to_owned(), schema: json!({}) });
        assert_eq!(conversation.wait_call().unwrap().1["session_id"], 7);
        conversation.add_result("d", "Process exited with code 0\nOutput:\nb".into(), true);
        assert_eq!((conversation.results.len(), conversation.wait_call()), (1, None));
        assert!(conversation.last_result().ends_with('b'));
    }
}
