//! Where requests are judged and written down, whatever carries them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::conversation::Conversation;
use crate::fault::{Fault, Refusal};
use crate::ledger::{Credential, Entry, Ledger, Request, Service};
use crate::script::{Script, Turn};
use crate::tokens::Tokens;
use crate::wire::{self, Piece, Reply};

/// What all connections share.
pub(super) struct Desk {
    script: Script,
    began: Instant,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) requests: Vec<Request>,
    pub(super) ledger: Ledger,
    pub(super) key: Option<String>,
    pub(super) models: Vec<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) armed: Vec<Armed>,
    seen: HashMap<u64, usize>,
}

/// A failure that was asked for.
pub(super) struct Armed {
    pub(super) fault: Fault,
    pub(super) when: When,
}

pub(super) enum When {
    Next(usize),
    FromTurn(usize),
}

/// What goes back.
pub(super) struct Answer {
    pub(super) number: usize,
    pub(super) before: Duration,
    pub(super) between: Duration,
    pub(super) content: Content,
}

pub(super) enum Content {
    /// The connection is closed.
    Nothing,
    Refusal(Refusal),
    Whole(String),
    Pieces {
        content_type: &'static str,
        pieces: Vec<Piece>,
        breaks: bool,
    },
}

impl Desk {
    pub(super) fn new(script: Script) -> Self {
        let state = State {
            requests: Vec::new(),
            ledger: Ledger::default(),
            key: None,
            models: vec!["scripted-model".to_owned()],
            headers: Vec::new(),
            armed: Vec::new(),
            seen: HashMap::new(),
        };
        Self { script, began: Instant::now(), state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn since(&self) -> Duration {
        self.began.elapsed()
    }

    /// For programs of other languages: the books, and the requests' bodies. Not in the books themselves.
    pub(super) fn looked_at(&self, request: &Request) -> Option<String> {
        let state = self.state();
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/script/ledger") => Some(json!(state.ledger).to_string()),
            ("GET", "/script/requests") => {
                let all = state.requests.iter().map(|r| {
                    json!({"at": r.at.as_secs_f64(), "method": r.method, "path": r.path, "headers": r.headers,
                        "body": r.body})
                });
                Some(all.collect::<serde_json::Value>().to_string())
            }
            _ => None,
        }
    }

    /// More of a reply has gone out.
    pub(super) fn told(&self, number: usize, bytes: usize, tokens: Option<Tokens>) {
        if let Some(entry) = self.state().ledger.entries.get_mut(number) {
            entry.bytes_out += bytes;
            entry.tokens = tokens.or(entry.tokens);
        }
    }

    /// Writes a request down and says what goes back.
    pub(super) fn answer(&self, mut request: Request, bytes_in: usize) -> Answer {
        let (service, protocol) = wire::service(&request);
        let mut conversation = protocol
            .filter(|_| matches!(service, Service::Reply | Service::CountTokens))
            .map(|protocol| wire::parse(protocol, &request));
        let mut state = self.state();
        let number = state.requests.len();
        request.number = number;
        if let Some(conversation) = conversation.as_mut().filter(|_| service == Service::Reply) {
            let seen = state.seen.entry(fingerprint(conversation)).or_default();
            conversation.before = *seen;
            *seen += 1;
        }
        let credential = match (&state.key, request.key()) {
            (None, _) => Credential::Right,
            (Some(key), Some(given)) if key == given => Credential::Right,
            (Some(_), Some(_)) => Credential::Wrong,
            (Some(_), None) => Credential::Missing,
        };
        let armed = conversation.as_ref().filter(|_| service == Service::Reply);
        let armed = armed.and_then(|conversation| state.armed(conversation));
        let models = state.models.clone();
        state.requests.push(request.clone());
        state.ledger.entries.push(Entry {
            number,
            service,
            protocol,
            model: conversation.as_ref().map(|c| c.model.clone()).unwrap_or_default(),
            stream: conversation.as_ref().is_some_and(|c| c.stream),
            aside: conversation.as_ref().is_some_and(Conversation::is_aside),
            turn: conversation.as_ref().map_or(0, |c| c.turn),
            credential,
            status: None,
            fault: None,
            tokens: None,
            bytes_in,
            bytes_out: 0,
        });
        drop(state);
        let mut answer = Answer {
            number,
            before: Duration::ZERO,
            between: Duration::ZERO,
            content: Content::Nothing,
        };
        let fault = if credential != Credential::Right {
            let protocol = protocol.unwrap_or(crate::Protocol::Chat);
            answer.content =
                Fault::KeyRevoked.refusal(protocol).map_or(Content::Nothing, Content::Refusal);
            None
        } else {
            match (service, conversation) {
                (Service::Reply, Some(conversation)) => {
                    self.reply(&conversation, &request, armed, &mut answer)
                }
                (Service::CountTokens, Some(conversation)) => {
                    let count = Tokens::of(&conversation, 0, 0).all_input();
                    let count = wire::count(conversation.protocol, count);
                    answer.content = Content::Whole(count.to_string());
                    None
                }
                (Service::Models, _) => {
                    let list = wire::models(protocol, &request.path, &models);
                    answer.content = Content::Whole(list.to_string());
                    None
                }
                _ => {
                    let nothing = ("not_found_error".to_owned(), "no such service".to_owned());
                    let fault = Fault::Refused(404, nothing.0, nothing.1);
                    let refusal = fault.refusal(protocol.unwrap_or(crate::Protocol::Chat));
                    answer.content = refusal.map_or(Content::Nothing, Content::Refusal);
                    None
                }
            }
        };
        if let Some(entry) = self.state().ledger.entries.get_mut(number) {
            entry.fault = fault.map(|fault| fault.name());
            entry.status = match &answer.content {
                Content::Nothing => None,
                Content::Refusal(refusal) => Some(refusal.status),
                Content::Whole(_) | Content::Pieces { .. } => Some(200),
            };
        }
        answer
    }

    /// Fills an answer in as the script says, or as a failure that was asked for says, which comes back.
    fn reply(
        &self,
        conversation: &Conversation,
        request: &Request,
        armed: Option<Fault>,
        answer: &mut Answer,
    ) -> Option<Fault> {
        let number = answer.number;
        let aside = || (wire::aside(conversation, number), None);
        let (reply, planned) = if let Some((name, input)) = conversation.wait_call() {
            let reply = Reply { number, calls: vec![(name, input)], ..Reply::default() };
            (reply, None)
        } else {
            self.script.turn(conversation).map_or_else(aside, |turn| {
                let fault = around(conversation, &turn, answer);
                (wire::reply(conversation, number, &turn), fault)
            })
        };
        let fault = armed.or(planned);
        if let Some(refusal) = fault.as_ref().and_then(|f| f.refusal(conversation.protocol)) {
            answer.content = Content::Refusal(refusal);
            return fault;
        }
        let thought = reply.thought.as_ref().map_or(0, String::len);
        let tokens = Tokens::of(conversation, reply.bytes(), thought);
        let (content_type, mut pieces) = wire::render(conversation, request, &reply, tokens);
        let mut breaks = false;
        match &fault {
            Some(Fault::Closed) => return fault,
            Some(Fault::Hang(time)) => {
                answer.before += *time;
                return fault;
            }
            Some(Fault::CutStream) => {
                cut(&mut pieces);
                breaks = true;
            }
            Some(Fault::ErrorInStream) => {
                cut(&mut pieces);
                pieces.push(wire::error_event(conversation.protocol));
            }
            _ => {}
        }
        answer.content = Content::Pieces { content_type, pieces, breaks };
        fault
    }
}

/// The first half of a reply: of its pieces, or of its only one, which then tells nothing.
fn cut(pieces: &mut Vec<Piece>) {
    match pieces.as_mut_slice() {
        [piece] => {
            piece.bytes.truncate(piece.bytes.len() / 2);
            piece.told = None;
        }
        _ => pieces.truncate(pieces.len() / 2),
    }
}

/// Takes the waits around a turn, and the failure it begins with.
fn around(conversation: &Conversation, turn: &Turn, answer: &mut Answer) -> Option<Fault> {
    match turn {
        Turn::Fault(fault) => Some(fault.clone()),
        Turn::Fails(times, fault, _) if conversation.before < *times => Some(fault.clone()),
        Turn::Slow(before, between, then) => {
            answer.before += *before;
            answer.between += *between;
            around(conversation, then, answer)
        }
        Turn::Fails(_, _, then) | Turn::Says(_, then) | Turn::Thinks(_, then) => {
            around(conversation, then, answer)
        }
        Turn::Text(_) | Turn::Run(_) | Turn::Tools(_) => None,
    }
}

/// Tells the same conversation again. Bodies differ between tries: they hold times and signatures.
fn fingerprint(conversation: &Conversation) -> u64 {
    let mut hasher = DefaultHasher::new();
    let results: Vec<&str> = conversation.results.iter().map(|r| r.text.as_str()).collect();
    (conversation.protocol, conversation.turn, conversation.is_aside()).hash(&mut hasher);
    (&conversation.user, &conversation.said, results).hash(&mut hasher);
    hasher.finish()
}

impl State {
    /// The failure that was asked for, if this request meets one.
    fn armed(&mut self, conversation: &Conversation) -> Option<Fault> {
        let meets = |armed: &Armed| match armed.when {
            When::Next(times) => times > 0,
            When::FromTurn(turn) => !conversation.is_aside() && conversation.turn >= turn,
        };
        let index = self.armed.iter().position(meets)?;
        let armed = self.armed.get_mut(index)?;
        if let When::Next(times) = &mut armed.when {
            *times = if *times == usize::MAX { *times } else { *times - 1 };
        }
        Some(armed.fault.clone())
    }
}
